from pathlib import Path

import pytest
import torch

from avis.engine import launch
from tests.engine import processes


def reports(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("number", [0, 1])
def test_one_process_runs_here(tmp_path: Path, number: int):
    launch(processes.report, number, args=(str(tmp_path),))
    assert reports(tmp_path) == {"rank0": "(1, 0, 1, 1.0)"}


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two processes need no or two GPUs")
def test_two_processes_form_a_group_and_their_exit_code_is_passed_on(tmp_path: Path):
    with pytest.raises(SystemExit) as ended:
        launch(processes.report_and_exit, 2, args=(str(tmp_path), 7))
    assert ended.value.code == 7
    assert reports(tmp_path) == {"rank0": "(2, 0, 2, 3.0)", "rank1": "(2, 1, 2, 3.0)"}


def test_several_machines_need_an_address():
    with pytest.raises(ValueError, match=r"--num-machines > 1 needs --dist-url"):
        launch(processes.report, 1, num_machines=2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="about GPUs")
def test_more_processes_than_gpus_are_an_error():
    with pytest.raises(ValueError, match=r"--num-gpus 99: this machine has"):
        launch(processes.report, 99)
