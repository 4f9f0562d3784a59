from pathlib import Path

import pytest
import torch

from avis.engine import AVISCheckpointer
from tests.engine.small_model import build_small_model


class Counter:
    """Something whose state a checkpoint holds."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def state_dict(self) -> dict:
        return {"value": self.value}

    def load_state_dict(self, state: dict) -> None:
        self.value = state["value"]


def test_round_trip(tmp_path: Path):
    saved = build_small_model()
    saved.level_embed.data += 1
    AVISCheckpointer(saved, str(tmp_path), counter=Counter(7)).save("model_0000004", iteration=4)
    counter = Counter()
    checkpointer = AVISCheckpointer(build_small_model(), str(tmp_path), counter=counter)
    extra = checkpointer.resume_or_load("", resume=True)
    assert counter.value == 7
    assert extra["iteration"] == 4
    torch.testing.assert_close(checkpointer.model.state_dict(), saved.state_dict(), atol=0, rtol=0)


def test_last_checkpoint_names_the_newest(tmp_path: Path):
    checkpointer = AVISCheckpointer(build_small_model(), str(tmp_path))
    for name in ("model_0000001", "model_final"):
        checkpointer.save(name)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_final.pth")
    assert {path.name for path in tmp_path.iterdir()} == {
        "last_checkpoint",
        "model_0000001.pth",
        "model_final.pth",
    }


def test_failed_save_leaves_the_older_checkpoint(tmp_path: Path):
    model = build_small_model()
    checkpointer = AVISCheckpointer(model, str(tmp_path))
    checkpointer.save("model_final")
    before = (tmp_path / "model_final.pth").read_bytes()
    with pytest.raises(Exception, match=r"pickle|local object"):
        checkpointer.save("model_final", unwritable=lambda: None)
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_weights_alone_cannot_be_resumed(tmp_path: Path):
    model = build_small_model()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    checkpointer = AVISCheckpointer(model, str(tmp_path), counter=Counter())
    checkpointer.tag_last_checkpoint("w.pth")
    with pytest.raises(ValueError, match=r"cannot resume from .*w\.pth: it holds no 'counter', only weights"):
        checkpointer.resume_or_load("", resume=True)


def test_named_checkpoint_that_is_gone_is_an_error(tmp_path: Path):
    checkpointer = AVISCheckpointer(build_small_model(), str(tmp_path), counter=Counter())
    checkpointer.tag_last_checkpoint("model_0000009.pth")
    with pytest.raises(FileNotFoundError, match=r"model_0000009\.pth"):
        checkpointer.resume_or_load("", resume=True)


def test_no_weights_leave_the_model_as_it_is():
    model = build_small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert AVISCheckpointer(model).load("") == {}
    torch.testing.assert_close(model.state_dict(), before, atol=0, rtol=0)
