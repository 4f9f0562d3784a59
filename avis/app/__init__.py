"""The web page: a video in, overlay, tracks and files out. `page` alone needs Gradio."""

from avis.app.limits import Limits, Refused
from avis.app.service import PredictionService
from avis.app.sessions import Workspace
from avis.app.weight_choice import WeightChoice, find_weights

__all__ = [
    "Limits",
    "PredictionService",
    "Refused",
    "WeightChoice",
    "Workspace",
    "find_weights",
]
