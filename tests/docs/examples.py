"""Running what the pages show: modules of a user's own, in a folder of a user's own, named by IMPORTS."""

import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, SEM_SEG_HEADS_REGISTRY

from avis.audio import AUDIO_BACKBONE_REGISTRY
from avis.config import get_avis_cfg
from avis.data import build_test_loader, build_train_loader
from avis.modeling import (
    AUDIO_QUERY_REGISTRY,
    AV_FUSION_REGISTRY,
    LOSS_REGISTRY,
    MASK_HEAD_REGISTRY,
    TEMPORAL_FUSION_REGISTRY,
    TRANSFORMER_DECODER_REGISTRY,
    build_model,
)
from tests.docs.markdown import Block
from tests.small_dataset import LENGTH, write_split

ROOT = Path(__file__).parents[2]
REGISTRIES = (
    BACKBONE_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    AUDIO_BACKBONE_REGISTRY,
    AUDIO_QUERY_REGISTRY,
    AV_FUSION_REGISTRY,
    LOSS_REGISTRY,
    MASK_HEAD_REGISTRY,
    TEMPORAL_FUSION_REGISTRY,
    TRANSFORMER_DECODER_REGISTRY,
)
SMALL = [
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2, "INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TEST", 0,
    "SOLVER.IMS_PER_BATCH", 2, "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 50,
]  # fmt: skip


@contextmanager
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the small data set as my_data; what examples register is forgotten after."""
    write_split(tmp_path / "my_data")
    write_split(tmp_path / "my_data", "val", num_videos=1)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    registered = [(registry, dict(registry._obj_map)) for registry in REGISTRIES]
    names = set(DatasetCatalog.list())
    yield tmp_path
    for registry, before in registered:
        registry._obj_map = before
    for name in set(DatasetCatalog.list()) - names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def write_files(blocks: Iterable[Block], folder: Path) -> None:
    """Save the blocks whose first line names a file."""
    for block in blocks:
        if block.path:
            path = folder / block.path
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text)


def commands(blocks: Iterable[Block]) -> list[list[str]]:
    """The arguments of every command after `.venv/bin/python`."""
    lines = [
        line
        for block in blocks
        if block.language == "bash"
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    return [shlex.split(line.removeprefix(".venv/bin/python ")) for line in lines]


def config_of(command: list[str]) -> CfgNode:
    """The config of a training command, for my_data and at a small size."""
    script, option, config_file, *opts = command
    assert (script, option) == ("tools/train_net.py", "--config-file")
    assert (ROOT / script).is_file()
    data = ["DATASETS.TRAIN", ("my_data/train.json",), "DATASETS.TEST", ("my_data/val.json",)]
    return get_avis_cfg(config_file, [*data, *SMALL, *opts])


def train_a_step(cfg: CfgNode) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A model after one step, and its losses; every parameter has got a gradient."""
    torch.manual_seed(0)
    model = build_model(cfg).train()
    losses = model(next(iter(build_train_loader(cfg))))
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    torch.optim.SGD(model.parameters(), lr=1e-4).step()
    return model, losses


@torch.no_grad()
def check_predictions(cfg: CfgNode, model: torch.nn.Module) -> None:
    """A whole video is predicted, and chunks of frames do not change what is predicted."""
    batch = next(iter(build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    (whole,) = model.eval()(batch)
    model.chunk_size = 2
    (chunked,) = model(batch)
    assert whole.length == LENGTH and len(whole.tracks) == cfg.MODEL.MASK_FORMER.TEST.TOPK
    assert all(len(track.segmentations) == LENGTH for track in whole.tracks)
    scores = [[track.score for track in prediction.tracks] for prediction in (whole, chunked)]
    # Sums over other numbers of frames are rounded otherwise.
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
