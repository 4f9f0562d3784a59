"""SEED -1: a seed is drawn, said, written down, and kept when the run goes on."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from avis.config import get_avis_cfg
from avis.engine import setup
from avis.engine.seed import settle_seed
from tests import preloaded
from tests.engine.small_model import SmallTrainer, small_cfg
from tests.engine.test_trainer import train, weights


def settled(folder: Path, seed: int = -1, resume: bool = False) -> tuple[int, bool]:
    """The seed, and whether it was drawn."""
    cfg = get_avis_cfg(opts=["SEED", seed, "OUTPUT_DIR", str(folder)])
    is_drawn = settle_seed(cfg, resume)
    return cfg.SEED, is_drawn


def test_a_seed_that_is_given_stays(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("SEED: 5\n")
    assert settled(tmp_path, 0) == (0, False)
    assert settled(tmp_path, 7, resume=True) == (7, False)


def test_a_seed_that_is_too_large_is_named(tmp_path: Path):
    assert settled(tmp_path, 2**32 - 1) == (2**32 - 1, False)
    with pytest.raises(
        ValueError, match=r"SEED is 4294967296; it is -1, which draws one, or 0 to 2147483647"
    ):
        settled(tmp_path, 2**32)


def test_seeds_are_drawn_anew(tmp_path: Path):
    drawn = {settled(tmp_path) for _ in range(5)}
    assert len(drawn) == 5
    assert all(0 <= seed < 2**31 and is_drawn for seed, is_drawn in drawn)


def test_a_run_that_goes_on_keeps_its_seed(tmp_path: Path):
    assert settled(tmp_path, resume=True)[1]  # there is no run
    (tmp_path / "config.yaml").write_text("OUTPUT_DIR: x\nSEED: 5\nSOLVER: {}\n")
    assert settled(tmp_path, resume=True) == (5, False)
    assert settled(tmp_path)[1]  # a new run


@pytest.mark.parametrize("config", [None, "", "SEED: -1\n"])
def test_of_a_checkpoint_alone_the_seed_is_known_too(tmp_path: Path, config: str | None):
    """Of older runs, config and checkpoint say -1, and the state of the trainer has the seed."""
    trainer = train(small_cfg(tmp_path, MAX_ITER=2))
    assert trainer.cfg.SEED == -1 and trainer.seed >= 0
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    assert settled(tmp_path, resume=True) == (trainer.seed, False)
    cfg = small_cfg(tmp_path)
    settle_seed(cfg, resume=True)
    resumed = SmallTrainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.seed == trainer.seed and resumed.start_iter == 2


SET_UP = """
import sys, torch
from argparse import Namespace
from avis.engine import setup
cfg = setup(Namespace(config_file="", opts=sys.argv[1:], eval_only=False))
print(torch.rand(1).item(), cfg.SEED)
"""


def set_up(folder: Path, *opts: object) -> tuple[str, str]:
    """The console of a run, and the first random number and the seed."""
    opts = ("OUTPUT_DIR", folder, "MODEL.DEVICE", "cpu", *opts)
    command = [sys.executable, "-c", SET_UP, *map(str, opts)]
    done = preloaded.run(command, check=True)
    *lines, last = done.stdout.splitlines()
    return "\n".join(lines), last


def test_setup_says_the_seed_and_seeds_with_it(tmp_path: Path):
    console, last = set_up(tmp_path)
    seed = last.split()[1]
    assert f"SEED {seed} was drawn; set it to train the same again" in console
    assert f"\nSEED: {seed}\n" in (tmp_path / "config.yaml").read_text()
    assert set_up(tmp_path, "SEED", seed) == ("", last)


def test_reference_that_does_not_divide_the_batch_is_named(tmp_path: Path):
    cfg_opts = ["SOLVER.REFERENCE_WORLD_SIZE", "3", "OUTPUT_DIR", str(tmp_path / "run")]
    with pytest.raises(
        ValueError, match=r"SOLVER\.REFERENCE_WORLD_SIZE is 3, over which .* 16 cannot be split"
    ):
        setup(Namespace(config_file="", opts=cfg_opts, eval_only=False))
    assert not list(tmp_path.iterdir())


def test_the_drawn_seed_trains_the_same_again(tmp_path: Path):
    def trained(name: str, seed: int) -> dict[str, torch.Tensor]:
        cfg = small_cfg(tmp_path / name)
        cfg.SEED = seed
        settle_seed(cfg, resume=False)
        seeds.append(cfg.SEED)
        return weights(train(cfg))

    seeds: list[int] = []
    first = trained("first", -1)
    torch.testing.assert_close(trained("second", seeds[0]), first, atol=0, rtol=0)
    assert not torch.equal(trained("third", -1)["level_embed"], first["level_embed"])
