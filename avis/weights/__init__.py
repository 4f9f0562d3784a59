"""Weight files: reading them safely, naming what they hold as the model does, loading and writing it."""

from avis.weights.about import about
from avis.weights.checkpoints import (
    LAST_CHECKPOINT,
    checkpoint_files,
    newest_checkpoint,
    numbered_checkpoints,
)
from avis.weights.family import refuse_other_models
from avis.weights.loading import (
    LoadReport,
    apply_weights,
    classes_of,
    load_weights,
    match_weights,
    set_classes,
)
from avis.weights.names import describe
from avis.weights.reading import StateDict, read_checkpoint
from avis.weights.writing import SUFFIXES, write_weights

__all__ = [
    "LAST_CHECKPOINT",
    "SUFFIXES",
    "LoadReport",
    "StateDict",
    "about",
    "apply_weights",
    "checkpoint_files",
    "classes_of",
    "describe",
    "load_weights",
    "match_weights",
    "newest_checkpoint",
    "numbered_checkpoints",
    "read_checkpoint",
    "refuse_other_models",
    "set_classes",
    "write_weights",
]
