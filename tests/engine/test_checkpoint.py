import random
import struct
import zipfile
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


def save_run(folder: Path, names: dict[str, int]) -> AVISCheckpointer:
    """Checkpoints with their iterations, each of which its counter tells, too."""
    for name, iteration in names.items():
        AVISCheckpointer(build_small_model(), str(folder), counter=Counter(iteration)).save(
            name, iteration=iteration
        )
    return AVISCheckpointer(build_small_model(), str(folder), counter=Counter())


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("record", [None, "", "\n", "model_0000099.pth", "model_0000005.pth"])
@pytest.mark.parametrize(
    ("names", "newest"),
    [
        ({"model_0000003": 3, "model_0000001": 1}, 3),
        ({"model_0000003": 3, "model_final": 4}, 4),
        ({"model_final": 4, "model_0000007": 7}, 7),  # MAX_ITER was raised after the end
    ],
)
def test_run_goes_on_from_its_newest_whole_checkpoint(
    tmp_path: Path, names: dict[str, int], newest: int, record: str | None, caplog: pytest.LogCaptureFixture
):
    """Whatever has become of `last_checkpoint` and the checkpoint it names."""
    checkpointer = save_run(tmp_path, names | {"model_0000005": 5})
    (tmp_path / "last_checkpoint").unlink()
    if record is not None:
        (tmp_path / "last_checkpoint").write_text(record)
    cut_off(tmp_path / "model_0000005.pth")
    torch.save({}, tmp_path / "model_weights.pth")  # no checkpoint of the run
    before = {path.name for path in tmp_path.iterdir()}
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == newest
    assert checkpointer.checkpointables["counter"].value == newest
    assert "last_checkpoint " in caplog.messages[-1] and "is taken instead" in caplog.messages[-1]
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bits_are_noticed(tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture):
    """Each tensor and each name is guarded by a checksum; padding between them may be anything."""
    checkpointer = save_run(tmp_path, {"model_0000001": 1, "model_0000003": 3})
    path, generator = tmp_path / "model_0000003.pth", random.Random(seed)
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda info: info.file_size * generator.random())
    content = bytearray(path.read_bytes())
    # A record follows its header: 30 bytes, its name, and padding, whose sizes the header tells.
    sizes = struct.unpack_from("<HH", content, record.header_offset + 26)
    start = record.header_offset + 30 + sum(sizes)
    content[start + generator.randrange(record.file_size)] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 1
    assert "is taken instead" in caplog.messages[-1]


def test_without_a_whole_checkpoint_nothing_starts_over(tmp_path: Path):
    checkpointer = save_run(tmp_path, {"model_0000001": 1, "model_0000003": 3})
    for path in tmp_path.glob("*.pth"):
        cut_off(path)
    for _ in ("named", "not named"):
        with pytest.raises(ValueError, match=r"no checkpoint in .* is whole.*model_000000\d\.pth"):
            checkpointer.resume_or_load("", resume=True)
        (tmp_path / "last_checkpoint").unlink(missing_ok=True)


def test_folder_without_checkpoints_starts_anew(tmp_path: Path):
    (tmp_path / "last_checkpoint").touch()
    torch.save({}, tmp_path / "model_weights.pth")
    assert AVISCheckpointer(build_small_model(), str(tmp_path), counter=Counter()).resume_or_load("") == {}


def test_no_weights_leave_the_model_as_it_is():
    model = build_small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert AVISCheckpointer(model).load("") == {}
    torch.testing.assert_close(model.state_dict(), before, atol=0, rtol=0)
