"""Weight files: reading them safely, naming what they hold as the model does, and loading it."""

from avis.weights.loading import LoadReport, apply_weights, load_weights
from avis.weights.reading import StateDict, read_checkpoint

__all__ = ["LoadReport", "StateDict", "apply_weights", "load_weights", "read_checkpoint"]
