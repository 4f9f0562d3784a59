"""Exporting a model: two programs, each compared with the model, and a JSON that says how to use them.

Dimensions: T frames, S audio sources, A audio channels, H×W the frames' size.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from tqdm import tqdm

from avis import __version__
from avis.config import hears, use_available_device
from avis.engine.fingerprint import fingerprint_model
from avis.export.programs import FrameEncoder, MaskDecoder
from avis.export.tracing import TOLERANCE, compare, trace
from avis.files import replacing
from avis.modeling import load_trained_model
from avis.modeling.avis_mask_former import AVISMaskFormer
from avis.structures import Categories
from avis.weights import classes_of

_STEPS = 4  # of a program: the model's own outputs, tracing, writing, comparing

# Named inputs of a program, in the order in which it takes them: tensors, or features by name.
Example = dict[str, Any]


@torch.no_grad()
def export_model(cfg: CfgNode, num_frames: int, size: tuple[int, int], folder: Path) -> dict[str, Any]:
    """Export the model of a config, with the weights of MODEL.WEIGHTS, for videos of one length and size.

    Writes frame_encoder.pt2, decoder.pt2 and export.json, or none of them. An earlier export is replaced.

    Args:
        cfg: of the model; on a machine without CUDA it is exported for the CPU.
        num_frames: T.
        size: (H, W) of the frames, after resizing and before padding.
        folder: is made.

    Returns:
        The content of export.json.

    Raises:
        ValueError: T, H or W is not positive, there are no weights, or the model is of another architecture,
            has a part that cannot be exported, or computes something else once it is exported.
    """
    if min(num_frames, *size) < 1:
        raise ValueError(f"{num_frames} frames of {size[0]}×{size[1]} pixels: all three must be positive")
    cfg = cfg.clone()
    cfg.defrost()
    use_available_device(cfg)
    folder.mkdir(parents=True, exist_ok=True)
    model = load_trained_model(cfg).eval().requires_grad_(False)
    if not isinstance(model, AVISMaskFormer):
        raise ValueError(f"MODEL.META_ARCHITECTURE is {type(model).__name__}; AVISMaskFormer can be exported")
    about = _describe_use(cfg, model, num_frames, size)
    with ExitStack() as files, tqdm(total=2 * _STEPS, leave=False, disable=None) as bar:
        # A name takes its file when the block ends, the last one first.
        json_file, encoder_file, decoder_file = (
            files.enter_context(replacing(folder / name))
            for name in ("export.json", "frame_encoder.pt2", "decoder.pt2")
        )
        # What is compared is not what is traced: a number that has become a constant would show.
        videos = [_example(cfg, num_frames, size, seed) for seed in (0, 1)]
        about["frame_encoder"], features = _export(FrameEncoder(model), videos, encoder_file, bar)
        seen = [_with_features(*pair) for pair in zip(videos, features, strict=True)]
        about["decoder"], _ = _export(MaskDecoder(model.sem_seg_head), seen, decoder_file, bar)
        json_file.write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    return about


def _export(
    program: nn.Module, examples: Sequence[Example], file: Path, bar: tqdm
) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    """Trace a program with the first example, write it, and compare it with the model on the second.

    Returns:
        What export.json says of it, and what the model gives for both.
    """
    name = type(program).__name__
    bar.set_description(name)
    traced, compared = (tuple(example.values()) for example in examples)
    outputs = [program(*traced), program(*compared)]
    bar.update()
    exported = trace(program, traced)
    bar.update()
    torch.export.save(exported, file)
    bar.update()
    differences = compare(name, torch.export.load(file).module()(*compared), outputs[1])
    bar.update()
    described = {"inputs": _shapes(examples[1]), "outputs": _shapes(outputs[1])}
    return described | {"largest_difference": differences}, outputs


def _example(cfg: CfgNode, num_frames: int, size: tuple[int, int], seed: int) -> Example:
    """A video of noise, with sound if the model hears."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (num_frames, 3, *size), dtype=torch.uint8, generator=generator)
    if not hears(cfg):
        return {"frames": frames.to(cfg.MODEL.DEVICE)}
    num_sources = cfg.INPUT.AUDIO.NUM_SOURCES
    sources = (num_sources,) if num_sources > 1 else ()
    audio = torch.rand(num_frames, *sources, cfg.MODEL.AUDIO.FEATURE_DIM, generator=generator)
    return {"frames": frames.to(cfg.MODEL.DEVICE), "audio": audio.to(cfg.MODEL.DEVICE)}


def _with_features(video: Example, features: dict[str, Tensor]) -> Example:
    """What the decoder takes: features instead of the frames."""
    return {"features": features} | {name: x for name, x in video.items() if name != "frames"}


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Shapes and types by name, nested as the tensors are."""
    return {
        name: {"shape": list(x.shape), "dtype": str(x.dtype).removeprefix("torch.")}
        if isinstance(x, Tensor)
        else _shapes(x)
        for name, x in tensors.items()
    }


def _describe_use(
    cfg: CfgNode, model: AVISMaskFormer, num_frames: int, size: tuple[int, int]
) -> dict[str, Any]:
    """What a program needs to know that runs the exported ones."""
    test = cfg.MODEL.MASK_FORMER.TEST
    categories = classes_of(model) or Categories.numbered(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    return {
        "num_frames": num_frames,
        "size": list(size),
        "padded_size": list(model.padded_size([torch.empty(3, *size, device="meta")])),
        "fps": cfg.INPUT.FPS,
        "channels": cfg.INPUT.FORMAT,
        "normalised_inside": True,
        "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": list(cfg.MODEL.PIXEL_STD),
        "categories": categories.to_json(),
        "topk": test.TOPK,
        "mask_quality": test.MASK_QUALITY,
        "score_threshold": test.SCORE_THRESHOLD,
        "device": cfg.MODEL.DEVICE,
        "tolerance": TOLERANCE,
        "torch": torch.__version__,
        "avis": __version__,
        "fingerprint": fingerprint_model(cfg, model),
    }
