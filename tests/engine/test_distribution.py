"""Training in pieces: the numbers of copies, on real processes."""

import json
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from avis.engine import launch
from avis.engine.distribution import distribute
from avis.weights import AVERAGED, read_checkpoint
from tests.engine import processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have learned in every case of `processes.IN_PIECES`."""
    folder = tmp_path_factory.mktemp("pieces")
    launch(processes.train_in_pieces, 2, args=(str(folder),), device="cpu")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", processes.IN_PIECES)
def test_pieces_learn_what_copies_learn(folder: Path, case: str):
    for rank in (0, 1):
        seen = torch.load(folder / f"seen{rank}.pt", weights_only=False)
        copies, pieces = (seen[case, in_pieces] for in_pieces in (False, True))
        assert pieces["blocks"] > 10 and copies["blocks"] == 0
        assert pieces["digest"] == copies["digest"]  # of the audio backbone, if it is frozen
        for one, other in zip(pieces["metrics"], copies["metrics"], strict=True):
            assert one == pytest.approx(other, rel=1e-5)
        torch.testing.assert_close(pieces["evaluated"], copies["evaluated"], atol=1e-5, rtol=1e-5)
    pieces, copies = (
        read_checkpoint(str(folder / f"{case} {kind}" / "model_final.pth")) for kind in (True, False)
    )
    for weights in {"model", AVERAGED} & copies.keys():
        torch.testing.assert_close(pieces[weights], copies[weights], atol=1e-5, rtol=1e-5)
    assert (AVERAGED in pieces) == (case == "averaged")
    assert pieces["trainer"].keys() == copies["trainer"].keys()
    assert pieces["trainer"]["parameters"] == copies["trainer"]["parameters"]


@pytest.mark.slow
def test_resumed_runs_in_pieces_and_copies(tmp_path: Path):
    """Of one kind with the same bits; from one kind to the other up to the rounding of sums."""
    launch(processes.go_on_in_pieces, 2, args=(str(tmp_path),), device="cpu")
    straight = {kind: final(tmp_path / f"straight {kind}") for kind in (False, True)}
    assert_close(straight[True], straight[False], 1e-5)
    for before, after, in_parts in product((False, True), repeat=3):
        found = final(tmp_path / f"{before} {after} {in_parts}")
        assert_close(found, straight[after], 0 if before == after else 1e-5)

    # In pieces and in parts to one process, which has nothing to share.
    (tmp_path / "alone").mkdir()
    shutil.copytree(tmp_path / "True True True" / "model_0000001", tmp_path / "alone" / "model_0000001")
    launch(processes.go_on_alone, 1, args=(str(tmp_path),), device="cpu")
    assert final(tmp_path / "alone")["iteration"] == 3


def final(folder: Path) -> dict:
    return read_checkpoint(str(folder / "model_final.pth"))


def assert_close(found: dict, expected: dict, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for key in {"model", AVERAGED, "trainer"} & found.keys():
        state = [
            content[key]["optimizer"] if key == "trainer" else content[key] for content in (found, expected)
        ]
        torch.testing.assert_close(*state, atol=tolerance, rtol=tolerance)


@pytest.mark.slow
def test_flawed_iteration_is_skipped_and_one_process_alone_saves_nothing(tmp_path: Path):
    launch(processes.train_flawed_in_pieces, 2, args=(str(tmp_path),), device="cpu")
    assert_close(final(tmp_path / "True"), final(tmp_path / "False"), 1e-5)
    (line,) = (tmp_path / "True" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["iteration"] == 1
    for rank in (0, 1):
        assert "go on from the last checkpoint" in (tmp_path / f"told{rank}").read_text()


def test_blocks_that_share_a_parameter_are_refused(monkeypatch: pytest.MonkeyPatch):
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(400, 400)

    model = nn.Module()
    model.backbone = nn.ModuleList([Block(), Block()])
    model.backbone[1].linear.weight = model.backbone[0].linear.weight
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    with pytest.raises(
        ValueError, match=r"SOLVER\.FSDP: backbone\.0\.linear\.weight belongs to several blocks"
    ):
        distribute(model, in_pieces=True)


def test_one_process_has_nothing_to_share():
    model = nn.Linear(2, 2)
    assert distribute(model, in_pieces=True) is model
