"""Data: the AVISeg format, media files, clips for training and whole videos for evaluation."""

from avis.data.aviseg import load_aviseg_json, register_aviseg
from avis.data.builtin import ensure_registered, get_metadata, register_builtin
from avis.data.categories import AVISEG_CATEGORIES
from avis.data.media import MediaError, decode_video, has_audio_stream, read_waveform, write_video
from avis.data.segmentation import decode_segmentation

__all__ = [
    "AVISEG_CATEGORIES",
    "MediaError",
    "decode_segmentation",
    "decode_video",
    "ensure_registered",
    "get_metadata",
    "has_audio_stream",
    "load_aviseg_json",
    "read_waveform",
    "register_aviseg",
    "write_video",
]

register_builtin()
