"""Checkpoints in parts: the same state as in one file, for any number of processes, whole or passed over."""

import os
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch

from avis.engine import AVISCheckpointer, check_output_dir, clear_output_dir, launch
from avis.files import remove_leftovers
from avis.weights import newest_checkpoint, read_checkpoint
from avis.weights.parts import checksum, write_parts
from tests.engine import processes
from tests.engine.small_model import SmallTrainer, build_small_model, small_cfg
from tests.engine.test_trainer import train, weights


def save_twice(folder: Path, iteration: int = 3) -> torch.nn.Module:
    """The same state as one file and in parts."""
    model = build_small_model()
    checkpointer = AVISCheckpointer(model, str(folder), "SEED: 1")
    rng_states = [{"torch": torch.get_rng_state()}]
    checkpointer.save("model_final", rng_states, iteration=iteration)
    checkpointer.save(f"model_{iteration:07d}", rng_states, sharded=True, iteration=iteration)
    return model


def test_parts_hold_what_a_file_holds(tmp_path: Path):
    save_twice(tmp_path)
    whole, parts = (read_checkpoint(str(tmp_path / name)) for name in ("model_final.pth", "model_0000003"))
    for found in (parts, whole):
        (found["rng"],) = (state["torch"] for state in found.pop("rng_states"))
    torch.testing.assert_close(parts.pop("model"), whole.pop("model"), atol=0, rtol=0)
    torch.testing.assert_close(parts.pop("rng"), whole.pop("rng"), atol=0, rtol=0)
    assert parts == whole and whole["iteration"] == 3
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003"
    assert not list(tmp_path.glob(".unfinished*"))


@pytest.mark.parametrize("sharded", [(True, False), (False, True), (True, True)])
def test_run_goes_on_from_either_kind(tmp_path: Path, sharded: tuple[bool, bool]):
    straight = train(small_cfg(tmp_path / "straight", MAX_ITER=8))
    for number, in_parts in enumerate(sharded):
        cfg = small_cfg(tmp_path / "run", MAX_ITER=8, CHECKPOINT_SHARDED=in_parts, CHECKPOINT_KEEP=1)
        cfg.SOLVER.STEPS = (3,)
        Stopped = stopped_at(5) if number == 0 else stopped_at(99)
        if number == 0:
            with pytest.raises(KeyboardInterrupt):
                train(cfg, trainer_class=Stopped)
        else:
            resumed = train(cfg, resume=True, trainer_class=Stopped)
    assert resumed.start_iter == 4
    torch.testing.assert_close(weights(resumed), weights(straight), atol=0, rtol=0)
    names = {path.name for path in (tmp_path / "run").glob("model_*")}
    assert names == {"model_final.pth", "model_0000005" if sharded[1] else "model_0000005.pth"}


def stopped_at(iteration: int) -> type:
    class StoppedTrainer(SmallTrainer):
        def run_step(self) -> None:
            if self.iter == iteration:
                raise KeyboardInterrupt
            super().run_step()

    return StoppedTrainer


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 4
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_off, Path.unlink])
@pytest.mark.parametrize("part", ["__0_0.distcp", ".metadata", "rest.pth", "parts.json"])
def test_damaged_one_is_passed_over(tmp_path: Path, damage, part: str, caplog: pytest.LogCaptureFixture):
    save_twice(tmp_path, 3)
    (tmp_path / "model_final.pth").rename(tmp_path / "model_0000001.pth")
    save_twice(tmp_path, 4)
    (tmp_path / "model_final.pth").unlink()
    if (damage, part) == (flip_a_bit, "parts.json"):
        (tmp_path / "model_0000004" / part).write_text("[]")
    else:
        damage(tmp_path / "model_0000004" / part)
    assert newest_checkpoint(tmp_path) == str(tmp_path / "model_0000003")
    assert "model_0000004" in caplog.messages[-2] and "is taken instead" in caplog.messages[-1]


def test_nothing_in_the_list_of_tensors_is_run(tmp_path: Path):
    save_twice(tmp_path)
    folder = tmp_path / "model_0000003"

    class Hostile:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "run"),)

    (folder / ".metadata").write_bytes(pickle.dumps(Hostile()))
    write_parts(folder, {path.name: checksum(path) for path in folder.iterdir() if path.name != "parts.json"})
    with pytest.raises(
        ValueError, match=r"model_0000003 cannot be read as a weight file.*refers to posix\.mkdir"
    ):
        read_checkpoint(str(folder))
    assert not (tmp_path / "run").exists()


def test_unfinished_folders_are_swept_and_others_named(tmp_path: Path):
    save_twice(tmp_path)
    leftover = tmp_path / ".unfinished~elsewhere~1~0a1b2c3d"
    shutil.copytree(tmp_path / "model_0000003", leftover)
    assert newest_checkpoint(tmp_path) == str(tmp_path / "model_0000003")
    remove_leftovers(tmp_path, of_all_hosts=True)
    assert not leftover.exists()
    with pytest.raises(FileNotFoundError, match="is a folder; give a file in it"):
        read_checkpoint(str(tmp_path))


def test_overwriting_deletes_folders(tmp_path: Path):
    save_twice(tmp_path)
    (tmp_path / "model_final.pth").unlink()
    cfg = small_cfg(tmp_path)
    with pytest.raises(FileExistsError, match="holds a training already"):
        check_output_dir(cfg)
    clear_output_dir(cfg)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_processes_write_parts_that_one_takes_and_back(tmp_path: Path):
    for number in (1, 2):
        launch(processes.train_in_parts, number, args=(str(tmp_path), number), device="cpu")
    one, two = (tmp_path / f"of{number}" / "model_0000001" for number in (1, 2))
    assert len(list(two.glob("*.distcp"))) == 2 and len(list(one.glob("*.distcp"))) == 1
    sizes = [path.stat().st_size for path in two.glob("*.distcp")]
    assert max(sizes) < 2 * min(sizes)  # shared out
    for folder in (one, two):
        assert read_checkpoint(str(folder))["iteration"] == 1
    # Each goes on from the other's, as from one file.
    for number in (2, 1):
        launch(processes.go_on_from_parts, number, args=(str(tmp_path), number), device="cpu")
        found, expected = (
            read_checkpoint(str(tmp_path / f"{kind}{number}" / "model_final.pth"))
            for kind in ("parts", "file")
        )
        torch.testing.assert_close(found["model"], expected["model"], atol=0, rtol=0)
        torch.testing.assert_close(
            found["trainer"]["optimizer"], expected["trainer"]["optimizer"], atol=0, rtol=0
        )


@pytest.mark.slow
def test_process_that_cannot_write_its_part_leaves_the_older_one(tmp_path: Path):
    launch(processes.fail_to_write_a_part, 2, args=(str(tmp_path),), device="cpu")
    assert {path.name for path in tmp_path.iterdir()} >= {
        "told0",
        "told1",
        "model_0000001",
        "last_checkpoint",
    }
    for rank in (0, 1):
        assert "no space left to write" in (tmp_path / f"told{rank}").read_text()
    assert not (tmp_path / "model_0000003").exists() and not list(tmp_path.glob(".unfinished*"))
    assert newest_checkpoint(tmp_path) == str(tmp_path / "model_0000001")
    weights = read_checkpoint(str(tmp_path / "model_0000001"))["model"]
    buffers = [name for name, _ in build_small_model().named_buffers()]
    assert all((weights[name] == 1).all() for name in buffers)  # those of the main process
