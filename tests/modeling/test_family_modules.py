"""Single modules of H2S compute what the original's computed, values and gradients."""

import pytest

from tests.modeling.family_modules import RUNS, ModuleCase, assert_case_is_recomputed, module_cases


def test_there_is_a_case_of_each_module():
    assert {ModuleCase(path).original for path in module_cases()} == set(RUNS)


@pytest.mark.parametrize("path", module_cases(), ids=lambda path: path.stem)
def test_recorded_module(path):
    assert_case_is_recomputed(path)
