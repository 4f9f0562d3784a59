"""Weight files: reading them safely, naming what they hold as the model does, loading and writing it."""

from avis.weights.loading import LoadReport, apply_weights, load_weights, match_weights
from avis.weights.names import describe, refuse_other_models
from avis.weights.reading import StateDict, read_checkpoint
from avis.weights.writing import SUFFIXES, write_weights

__all__ = [
    "SUFFIXES",
    "LoadReport",
    "StateDict",
    "apply_weights",
    "describe",
    "load_weights",
    "match_weights",
    "read_checkpoint",
    "refuse_other_models",
    "write_weights",
]
