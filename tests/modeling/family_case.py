"""Running a recorded case of AVISM, ACVIS or H2S (tests/recorded/family/README.md) with the models of ours.

A case says all that it needs: the original's config and options, the sizes, the seed and how its parameters
were filled. So cases that are recorded later run without new code.
"""

import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor, nn

from avis.config import get_avis_cfg
from avis.modeling import build_model
from avis.modeling.layers import MLP
from avis.weights import LoadReport
from avis.weights.loading import apply_weights
from tests.modeling.recorded import RecordedRand

# The originals' options by ours; None: it changes no number, or ours has no such choice.
_OPTIONS = {
    "MODEL.AVISM.HIDDEN_DIM": None,
    "MODEL.AVISM.NHEADS": None,
    "MODEL.AVISM.ENFORCE_INPUT_PROJ": None,
    "MODEL.AVISM.FREEZE_DETECTOR": None,
    "MODEL.AVISM.MULTI_CLS_ON": None,
    "MODEL.AVISM.APPLY_CLS_THRES": None,
    "MODEL.AVISM.SIM_USE_CLIP": None,
    "INPUT.AUDIO_DIM": None,
    "MODEL.AVISM.SIM_WEIGHT": None,
    "MODEL.AVISM.TEST_INTERPOLATE_CHUNK_SIZE": None,
    "MODEL.AVISM.NUM_OBJECT_QUERIES": "MODEL.CLIP_DECODER.NUM_QUERIES",
    "MODEL.AVISM.DIM_FEEDFORWARD": "MODEL.CLIP_DECODER.DIM_FEEDFORWARD",
    "MODEL.AVISM.ENC_WINDOW_SIZE": "MODEL.CLIP_DECODER.WINDOW",
    "MODEL.AVISM.ENC_LAYERS": "MODEL.CLIP_DECODER.ENC_LAYERS",
    "MODEL.AVISM.DEC_LAYERS": "MODEL.CLIP_DECODER.DEC_LAYERS",
    "MODEL.AVISM.LAST_LAYER_NUM": "MODEL.CLIP_DECODER.FRAME_LAYERS",
    "MODEL.AVISM.TEST_RUN_CHUNK_SIZE": "MODEL.MASK_FORMER.TEST.CHUNK_SIZE",
    "TEST.DETECTIONS_PER_IMAGE": "MODEL.MASK_FORMER.TEST.TOPK",
}
_CONFIG = "configs/{which}_{backbone}.yaml"

# Our names by those of the originals; MODULE is what the model calls the clip module.
_TO_ORIGINAL = (
    (r"^sem_seg_head\.predictor\.frame\.(audio_proj\.)?", "sem_seg_head.predictor."),
    (r"^sem_seg_head\.predictor\.mask_features\.", "MODULE_module.MODULE_mask_features."),
    (r"^sem_seg_head\.predictor\.clip\.(temporal_fusion\.)?", "MODULE_module."),
    (r"^criterion\.terms\.similarity\.", "MODULE_module."),
    (r"^criterion\.terms\.count\.", "sem_seg_head.predictor."),
    (r"(?<=pixel_decoder\.)fusion\.res5", "bi_attn.0"),
    (r"(?<=pixel_decoder\.)fusion\.res4", "bi_attn.1"),
    (r"(?<=pixel_decoder\.)fusion\.res3", "bi_attn.2"),
)


class Case:
    """A recorded case: what its files say, and the model and input that they describe."""

    def __init__(self, path: Path) -> None:
        self.facts = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz")) as arrays:
            self.arrays = dict(arrays)
        self.is_training = "loss_keys" in self.facts

    def build(self) -> tuple[nn.Module, LoadReport]:
        """The model with the case's parameters under the original's names, and what became of them."""
        backbone = "SwinL_COCO" if "SwinL" in self.facts["config_file"] else "R50"
        cfg = get_avis_cfg(_CONFIG.format(which=self.facts["which"], backbone=backbone), self.options())
        model = build_model(cfg)
        report = apply_weights(model, {"model": self._parameters(model)})
        if self.facts["which"] == "h2s":
            starts = self._starts()
            for attention in model.sem_seg_head.predictor.frame.audio_proj.av_sf:
                attention.start = lambda points, number: next(starts)
        return model.train(self.is_training), report

    def options(self) -> list:
        """KEY, VALUE, … of our config."""
        options = {"MODEL.DEVICE": "cpu", "DATALOADER.NUM_WORKERS": 0}
        given = self.facts["opts"]
        for key, value in zip(given[::2], given[1::2], strict=True):
            if name := _OPTIONS.get(key, key):
                options[name] = value
        if self.facts["which"] == "h2s":
            # On one process, batch norm is what synchronised batch norm is.
            options["MODEL.RESNETS.NORM"] = "BN"
        return [item for pair in options.items() for item in pair]

    def clip(self) -> dict:
        """The input, from the case's seed."""
        generator = np.random.default_rng(self.facts["seed"])
        num_frames, (height, width) = self.facts["frames"], self.facts["size"]
        frames = [
            torch.from_numpy(generator.integers(0, 256, (3, height, width), dtype=np.uint8))
            for _ in range(num_frames)
        ]
        clip = {"image": frames, "video_id": 1, **self._sound(generator, num_frames)}
        if self.is_training:
            return clip | self._truth()
        height, width = self.facts["arrays"]["masks_packed"]["shape"][-2:]
        return clip | {"height": height, "width": width}

    def original_names(self, model: nn.Module) -> dict[str, str]:
        """What the original calls each entry of the model's state."""
        module = "avism" if "_IN" in self.facts["config_file"] and self.facts["which"] != "acvis" else "vita"
        return {name: _original_name(name, module) for name in model.state_dict()}

    def unpacked(self, name: str) -> np.ndarray:
        """Masks that are stored as bits."""
        shape = self.facts["arrays"][name]["shape"]
        return np.unpackbits(self.arrays[name])[: np.prod(shape)].reshape(shape).astype(bool)

    def _starts(self) -> Iterator[Tensor]:
        """Where k-means started, call by call: of each chunk's levels the queries, then the keys."""
        names = sorted(name for name in self.arrays if name.startswith("kmeans"))
        return (torch.from_numpy(self.arrays[name].astype(np.int64)) for name in names)

    def _parameters(self, model: nn.Module) -> dict[str, Tensor]:
        """Every entry under its original name, as the recording filled it."""
        names, state = self.original_names(model), model.state_dict()
        return {original: self._fill(original, state[name]) for name, original in names.items()}

    def _fill(self, key: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or key.endswith("criterion.empty_weight"):
            return tensor
        generator = np.random.default_rng(zlib.crc32(key.encode()))
        value = generator.standard_normal(tuple(tensor.shape), dtype=np.float32) * np.float32(0.05)
        if key.endswith("running_var"):
            value = np.abs(value) + np.float32(0.5)
        elif value.ndim == 1 and key.endswith(".weight"):
            value = 1 + value
        for suffix, factor in self.facts.get("scaled", {}).items():
            if key.endswith(suffix):
                value = value * np.float32(factor)
        return torch.from_numpy(value)

    def _sound(self, generator: np.random.Generator, num_frames: int) -> dict:
        if self.facts["which"] == "acvis":
            levels = generator.standard_normal((num_frames, 96, 64), dtype=np.float32)
            return {"audio_examples": torch.from_numpy(levels * np.float32(0.001))}
        sources = (8,) if self.facts["which"] == "h2s" else ()
        features = generator.standard_normal((num_frames, *sources, 128), dtype=np.float32)
        return {"audio_features": torch.from_numpy(np.maximum(features, 0))}

    def _truth(self) -> dict:
        masks = torch.from_numpy(self.unpacked("masks0_packed"))
        classes = torch.from_numpy(self.arrays["classes0"])
        ids = torch.arange(len(classes))
        instances = [
            Instances(tuple(masks.shape[-2:]), gt_masks=BitMasks(frame), gt_classes=classes, gt_ids=ids)
            for frame in masks
        ]
        counts = self.arrays.get("instance_cnt")
        return {"instances": instances} | (
            {} if counts is None else {"num_sounding": torch.from_numpy(counts)}
        )


def _original_name(name: str, module: str) -> str:
    for pattern, replacement in _TO_ORIGINAL:
        name = re.sub(pattern, replacement.replace("MODULE", module), name)
    return name


def train(case: Case) -> dict[str, np.ndarray]:
    """Losses and gradient norms in the order of the case, and what the clip queries say."""
    model, _ = case.build()
    rand = RecordedRand(case.facts["seed"])
    for name in ("frame_prediction", "clip_prediction"):
        model.criterion.terms[name].criterion.rand = rand
    with _watched(model) as seen:
        losses = model([case.clip()])
    sum(losses.values()).backward()
    names = case.original_names(model)
    gradients = {names[name]: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = {name: gradient.double().norm().item() for name, gradient in gradients.items()}
    ours = {_our_loss(name): name for name in case.facts["loss_keys"]}
    in_order = {ours[name]: loss.item() for name, loss in losses.items()}
    return seen.numbers(len(case.arrays["pred_logits"])) | {
        "losses": np.array([in_order[name] for name in case.facts["loss_keys"]]),
        "param_grad_norms": np.array([norms.get(name, 0.0) for name in case.facts["param_names"]]),
        "bn_running_mean": model.state_dict().get("backbone.stem.conv1.norm.running_mean", torch.zeros(0)),
    }


@torch.no_grad()
def evaluate(case: Case) -> tuple[dict[str, np.ndarray], list]:
    """What frames and clip queries say, and the tracks of the video."""
    model, _ = case.build()
    with _watched(model) as seen:
        (video,) = model([case.clip()])
    numbers = seen.numbers(1)
    if "count" in model.criterion.terms:
        logits = model.criterion.terms["count"].cnt_proj(seen.tokens())
        numbers["instance_logits"] = logits.view(case.arrays["instance_logits"].shape)
    return numbers, video.tracks


def _our_loss(name: str) -> str:
    """Our name of a loss: loss_ce is of frames, loss_avism_ce of clips."""
    if name in ("loss_clip_sim", "loss_instance_cnt"):
        return {"loss_clip_sim": "loss_similarity", "loss_instance_cnt": "loss_count"}[name]
    kind = "clip" if re.match(r"loss_(avism|vita)_", name) else "frame"
    return re.sub(r"^loss_((avism|vita)_)?", f"loss_{kind}_", name)


class _Seen:
    """What has passed a model's decoder and its audio backbone."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.frames, self.pyramids, self.clips, self.sounds = [], [], [], []

    def tokens(self) -> Tensor:
        return torch.cat([frame.extra for _, frame in self.frames])

    def numbers(self, num_layers: int) -> dict[str, Tensor]:
        """By the recording's names; `num_layers` of frame queries that the clip queries answer for."""
        predictor = self.model.sem_seg_head.predictor
        frames = [frame for _, frame in self.frames]
        answer = self.clips[-1].predictions[-1]
        embeddings = MLP.forward(predictor.clip.mask_embed, answer.queries)
        return {
            "frame_logits": torch.cat([frame.class_logits for frame in frames]),
            "frame_queries": torch.cat([frame.queries for frame in frames]),
            "frame_masks": torch.cat(
                [predictor.frame.mask_embed(frame.queries, pixels)[:, :, 0] for pixels, frame in self.frames]
            ),
            "pixel_decoder_output": torch.cat(self.pyramids),
            "pred_logits": answer.class_logits.unflatten(0, (num_layers, -1)),
            "pred_mask_embed": embeddings.unflatten(0, (num_layers, -1)),
            **({"audio_features": torch.cat(self.sounds)} if self.sounds else {}),
        }


@contextmanager
def _watched(model: nn.Module) -> Iterator[_Seen]:
    """Note what passes the model, whose methods are as they were afterwards."""
    seen, predictor = _Seen(model), model.sem_seg_head.predictor
    see, decide, decide_frame = predictor.see, predictor.decide, predictor.frame.decide

    def watch_see(levels: list[Tensor], mask_features: Tensor, audio: Tensor | None) -> object:
        seen.pyramids.append(levels[-1].flatten(0, 1))
        return see(levels, mask_features, audio)

    def watch_frame(parts: list, audio: Tensor | None) -> object:
        decoded = decide_frame(parts, audio)
        seen.frames.append((decoded.mask_features, decoded.predictions[-1]))
        return decoded

    def watch_decide(parts: list, audio: Tensor | None) -> object:
        seen.clips.append(decide(parts, audio))
        return seen.clips[-1]

    predictor.see, predictor.decide, predictor.frame.decide = watch_see, watch_decide, watch_frame
    hook = model.audio_backbone.register_forward_hook(lambda _, __, features: seen.sounds.append(features))
    try:
        yield seen
    finally:
        hook.remove()
        del predictor.see, predictor.decide, predictor.frame.decide
