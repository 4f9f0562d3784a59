"""Two-way attention between pixels and sources, in the direction that is of use."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from avis.config import get_avis_cfg
from avis.modeling import TwoWayAttention
from avis.modeling.fusion import build_fusion, fuse_levels
from avis.modeling.position_encoding import sine_embedding_2d
from tests.modeling.family_modules import assert_case_is_recomputed, module_cases
from tests.modeling.recorded import original_shapes


@pytest.mark.parametrize("path", module_cases(), ids=lambda path: path.stem)
def test_recorded_modules(path):
    assert_case_is_recomputed(path)
