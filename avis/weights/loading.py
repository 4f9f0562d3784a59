"""Putting the weights of a file into a model, and saying what became of each."""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tabulate import tabulate
from torch import Tensor, nn

from avis.structures import Categories
from avis.weights.about import categories_of
from avis.weights.averaged import read_weights
from avis.weights.family import family_of, refuse_other_models
from avis.weights.names import name_as
from avis.weights.pieces import piece_of
from avis.weights.reading import StateDict
from avis.weights.wrappers import plain_names

logger = logging.getLogger(__name__)

Shape = tuple[int, ...]

# These depend on the number of classes, and so start anew when a model is fine-tuned on other classes.
_CLASS_DEPENDENT = re.compile(r"\bclass_embed\.")
# The config decides the weight of no-object (NO_OBJECT_WEIGHT), although models keep it in their state.
_CONFIGURED = re.compile(r"\b(avism_|vita_)?criterion\.empty_weight$")
# Follows from the rest of a model, or is a mere count; some programs save it, others do not.
_DERIVED = re.compile(r"\.(relative_position_index|attn_mask|num_batches_tracked)$")
# What models that do not hear lack or have otherwise.
_FOR_HEARING = re.compile(
    r"^(audio_backbone|fusion)\.|\.pixel_decoder\.(fusion|bi_attn)\.|\.temporal_fusion\.|^criterion\.terms\.count\."
    r"|\.predictor\.((frame\.)?(audio_proj|mask_embed|sounding_gate)|av_post_proj)\."
)
# What models of images lack.
_FOR_CLIPS = re.compile(r"\.predictor\.(clip|mask_features)\.|^criterion\.terms\.")
_BACKBONES = ("backbone.", "audio_backbone.")
# What a Swin for detection has beside a classifier's.
_OUTPUT_NORM = re.compile(r"^backbone\.norm\d\.")
# Blocks are numbered, what follows them in classifiers is not.
_OF_BLOCK = re.compile(r"\.\d+\.")
# Modules that a summary names.
_MODULES_SHOWN = 6

# What to do about tensors of another shape.
_HINTS = (
    (re.compile(r"\.clip\.query_(feat|embed)\."), "MODEL.CLIP_DECODER.NUM_QUERIES is {0} in the file"),
    (
        re.compile(r"(?<!\.clip)\.query_(feat|embed)\.|\.fq_pos\."),
        "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES is {0} in the file",
    ),
    (
        re.compile(r"\.relative_position_bias_table$"),
        "the file's Swin has other windows: choose MODEL.TIMM.NAME accordingly",
    ),
)


@dataclass
class LoadReport:
    """What became of the tensors of a model and of a file.

    Attributes:
        source: what the file holds, in words.
        categories: the classes of the weights in the file; None: it does not say.
        loaded: names of the model's tensors that are the file's.
        reinitialized: those of another shape or of other classes in the file, and so left at their initial
            values, with the shape in the file and the model's.
        missing: those that are not in the file, and so left at their initial values.
        unused: names in the file that the model does not have.
        sizes: number of values by name.
    """

    source: str
    categories: Categories | None
    loaded: list[str]
    reinitialized: dict[str, tuple[Shape, Shape]]
    missing: list[str]
    unused: list[str]
    sizes: dict[str, int]

    def complete(self) -> bool:
        """Whether file and model agree in every name and shape."""
        return not (self.reinitialized or self.missing or self.unused)

    def as_expected(self) -> bool:
        """Whether the file is a whole model, perhaps deaf or of images, or a backbone."""
        if not all(_CLASS_DEPENDENT.search(name) for name in self.reinitialized):
            return False
        if self._is_backbone():
            return not self._other_blocks()
        if not all(_FOR_HEARING.search(name) for name in self.unused):
            return False
        return all(_FOR_HEARING.search(name) or _FOR_CLIPS.search(name) for name in self.missing)

    def summary(self) -> str:
        """One line: counts, and the modules concerned."""
        of_another_shape = {name for name, (found, own) in self.reinitialized.items() if found != own}
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what, names in (
            ("of another shape, so left at their initial values", of_another_shape),
            (
                "of other classes, so left at their initial values",
                self.reinitialized.keys() - of_another_shape,
            ),
            ("not in the file, so left at their initial values", self.missing),
            ("in the file but not in the model", self.unused),
        ):
            if names:
                parts.append(f"{len(names)} {what} ({_list_modules(sorted(names))})")
        return "; ".join(parts)

    def hints(self) -> list[str]:
        """What tensors of another shape or number mean, a sentence each."""
        hints = []
        for name, (found, wanted) in self.reinitialized.items():
            if _CLASS_DEPENDENT.search(name):
                classes = f"{found[0] - 1} classes in the file, {wanted[0] - 1} in the model"
                named = f" (the file's are {', '.join(self.categories.names)})" if self.categories else ""
                hints.append(f"the class layer starts anew: {classes}{named}")
            hints += [hint.format(*found) for pattern, hint in _HINTS if pattern.search(name)]
        if self._is_backbone() and (others := self._other_blocks()):
            hints.append(f"its backbone is of another size: {_list_modules(others)} in one of the two only")
        return list(dict.fromkeys(hints))

    def table(self) -> str:
        """Tensors and values of each part of the model by what became of them."""
        outcomes = {
            "loaded": self.loaded,
            "other shape": self.reinitialized,
            "not in file": self.missing,
            "unused in file": self.unused,
        }
        used = {outcome: names for outcome, names in outcomes.items() if names}
        parts = dict.fromkeys(_part(name) for names in used.values() for name in names)
        rows = [
            [part, *(self._cell([name for name in names if _part(name) == part]) for names in used.values())]
            for part in parts
        ]
        return tabulate(rows, ["tensors (values)", *used], tablefmt="github")

    def _is_backbone(self) -> bool:
        return all(name.startswith(_BACKBONES) for name in self.loaded)

    def _other_blocks(self) -> list[str]:
        """Of a file with a backbone alone: what the backbones of model and file do not have in common."""
        loaded = {name.partition(".")[0] for name in self.loaded}
        missing = [name for name in self.missing if name.partition(".")[0] in loaded]
        missing = [name for name in missing if not _OUTPUT_NORM.match(name)]
        return missing + [name for name in self.unused if _OF_BLOCK.search(name)]

    def _cell(self, names: list[str]) -> str:
        return f"{len(names)} ({_short(sum(self.sizes[name] for name in names))})" if names else ""


def load_weights(model: nn.Module, path: str, averaged: bool = True) -> LoadReport:
    """Put the weights of a file into `model` as far as names and shapes agree, and log what did not.

    Args:
        model: gets them.
        path: of the file.
        averaged: as `read_weights` takes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, is of another model, or nothing in it belongs to the model.
    """
    checkpoint, chosen = read_weights(path, averaged)
    if chosen:
        logger.info("%s: %s (MODEL.EMA_WEIGHTS %s)", path, chosen, averaged)
    refuse_other_models(model.state_dict(), checkpoint["model"], path)
    report = apply_weights(model, checkpoint)
    if not report.loaded:
        raise ValueError(f"{path}: no weight in it belongs to the model ({report.summary()})")
    level = logging.INFO if report.as_expected() else logging.WARNING
    logger.log(level, "%s, %s: %s\n%s", path, report.source, report.summary(), report.table())
    for hint in report.hints():
        logger.log(level, "%s: %s", path, hint)
    logger.debug("%s: %s", path, report)
    return report


def apply_weights(model: nn.Module, checkpoint: dict) -> LoadReport:
    """Load what `match_weights` finds in a checkpoint for `model`, whose classes `set_classes` has named."""
    target = model.state_dict()
    fitting, report = match_weights(target, checkpoint, classes_of(model))
    fitting = {name: piece_of(value, target[name]) for name, value in fitting.items()}
    # The whole state: some modules set what they miss in it to values of their own.
    model.load_state_dict({**target, **fitting})
    return report


def match_weights(
    target: StateDict, checkpoint: dict, classes: Categories | None = None
) -> tuple[StateDict, LoadReport]:
    """Find the weights of a checkpoint that a model takes: of the same name, as the model has it, and shape.

    The weight of no-object is left out: a model has it from the config. The rows of a class layer are matched
    by the names of the classes; where these are others, the layer is left out.

    Args:
        target: the model's state dict.
        checkpoint: as `read_checkpoint` returns it.
        classes: the model's; None: those of the checkpoint, whatever they are.

    Returns:
        The weights by the model's names, and what became of all others.
    """
    # The model may be wrapped itself, while the names of files are without wrappers.
    own_names = dict(zip(plain_names(target), target, strict=True))
    source, weights = name_as({name: target[own] for name, own in own_names.items()}, checkpoint)
    weights = {own_names.get(name, name): value for name, value in weights.items()}
    weights = {name: value for name, value in weights.items() if _is_wanted(name, value, target)}
    fitting = {name: v for name, v in weights.items() if name in target and v.shape == target[name].shape}
    categories = categories_of(checkpoint)
    if categories and classes:
        fitting = _arrange_classes(fitting, categories, classes)
    family = family_of(checkpoint["model"])
    report = LoadReport(
        source=f"a whole model of {family}" if family else source,
        categories=categories,
        loaded=sorted(fitting),
        reinitialized={
            name: (tuple(weights[name].shape), tuple(target[name].shape))
            for name in sorted(weights.keys() & target.keys() - fitting.keys())
        },
        missing=sorted(name for name in target.keys() - weights.keys() if not _is_given(name)),
        unused=sorted(weights.keys() - target.keys()),
        sizes={name: value.numel() for name, value in (weights | target).items()},
    )
    return fitting, report


def set_classes(model: nn.Module, classes: Categories | None) -> None:
    """Name the classes of a model; checkpoints of it will carry them."""
    model.categories = classes


def classes_of(model: nn.Module) -> Categories | None:
    """The classes of a model; None where it is not known what they are."""
    return getattr(model, "categories", None)


def _arrange_classes(weights: StateDict, theirs: Categories, wanted: Categories) -> StateDict:
    """Bring the rows of class layers into the wanted order of classes, or leave the layers out.

    A class layer has a row for each class, and perhaps one for no-object after them.
    """
    if theirs.names == wanted.names:
        return weights
    if set(theirs.names) != set(wanted.names):
        return {name: value for name, value in weights.items() if not _CLASS_DEPENDENT.search(name)}
    rows = wanted.indices_in(theirs)
    with_rest = {len(rows): rows, len(rows) + 1: [*rows, len(rows)]}
    return {
        name: value[with_rest[len(value)]]
        if _CLASS_DEPENDENT.search(name) and value.dim() and len(value) in with_rest
        else value
        for name, value in weights.items()
    }


def _is_wanted(name: str, value: Tensor, target: StateDict) -> bool:
    if _CONFIGURED.search(name):
        return False
    if _DERIVED.search(name):
        return name in target and target[name].shape == value.shape
    return True


def _is_given(name: str) -> bool:
    """Whether a tensor has its right value without a file."""
    return bool(_CONFIGURED.search(name) or _DERIVED.search(name))


def _part(name: str) -> str:
    """The part of a model that a name belongs to: the first module, of sem_seg_head the first two."""
    modules = name.split(".")
    return ".".join(modules[: 2 if modules[0] == "sem_seg_head" else 1])


def _list_modules(names: Iterable[str], depth: int = 2) -> str:
    """Names in short: their modules down to `depth`, with counts."""
    modules = Counter(".".join(name.split(".")[:depth]) for name in names)
    listed = [f"{module} x{count}" if count > 1 else module for module, count in modules.items()]
    more = [f"and {len(listed) - _MODULES_SHOWN} more"] if len(listed) > _MODULES_SHOWN else []
    return ", ".join(listed[:_MODULES_SHOWN] + more)


def _short(number: int) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return str(number)
