"""Prediction on videos and streams of any kind.

Names are imported when they are asked for, because the model's parts take seconds to import.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avis.inference.checkpoint_config import cfg_of_checkpoint
    from avis.inference.linking import Linking
    from avis.inference.online import Latency, OnlineSession, OnlineTrack, OnlineTracks
    from avis.inference.prediction_json import prediction_to_json
    from avis.inference.predictor import VideoPredictor
    from avis.inference.resume_key import run_key
    from avis.inference.video_source import VideoSource, open_video

__all__ = [
    "Latency",
    "Linking",
    "OnlineSession",
    "OnlineTrack",
    "OnlineTracks",
    "VideoPredictor",
    "VideoSource",
    "cfg_of_checkpoint",
    "open_video",
    "prediction_to_json",
    "run_key",
]

_MODULES = {
    "Latency": "online",
    "Linking": "linking",
    "OnlineSession": "online",
    "OnlineTrack": "online",
    "OnlineTracks": "online",
    "VideoPredictor": "predictor",
    "VideoSource": "video_source",
    "cfg_of_checkpoint": "checkpoint_config",
    "open_video": "video_source",
    "prediction_to_json": "prediction_json",
    "run_key": "resume_key",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
