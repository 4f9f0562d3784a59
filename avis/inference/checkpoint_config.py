"""The config that a checkpoint holds, for predicting with it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode

from avis.audio.weights import PREFIX
from avis.config import get_recorded_cfg
from avis.weights import about, read_checkpoint


def cfg_of_checkpoint(path: str | Path, opts: Sequence = ()) -> CfgNode:
    """The config of the model whose checkpoint a file is, with the file as its weights.

    It computes on CUDA where there is some, whatever the model was trained on. Audio weights that the file
    holds need no other file. Modules of a user's own that the config names (IMPORTS) are imported.

    Args:
        path: of a checkpoint of ours, or of what `avis convert-weights` has made of one.
        opts: KEY, VALUE, … that change the config.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or does not hold its config.
        ConfigError: the config does not fit this version, or `opts` have a mistake.
    """
    checkpoint = read_checkpoint(str(path))
    text = about(checkpoint).get("config")
    if not text:
        raise ValueError(
            f"{path} does not hold its config, as checkpoints of tools/train_net.py do; give --config-file, "
            'or in Python VideoPredictor(get_avis_cfg(CONFIG, ["MODEL.WEIGHTS", FILE]))'
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = ["MODEL.WEIGHTS", str(path), "MODEL.DEVICE", device]
    if any(name.startswith(PREFIX) for name in checkpoint["model"]):
        found += ["MODEL.AUDIO.WEIGHTS", "", "MODEL.AUDIO.PCA_WEIGHTS", ""]
    return get_recorded_cfg(text, f"{path}: its config", [*found, *opts])
