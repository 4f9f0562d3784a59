"""Data: the AVISeg format, media files, clips for training and whole videos for evaluation."""

from avis.data.audio_source import choose_audio_source
from avis.data.build import (
    build_loss_loader,
    build_test_loader,
    build_train_loader,
    check_num_classes,
    get_dataset_records,
)
from avis.data.catalog import (
    ensure_registered,
    get_categories,
    get_metadata,
    is_class_agnostic,
    register_builtin,
)
from avis.data.clip_audio import with_sound
from avis.data.clip_mapper import ClipMapper
from avis.data.records import load_aviseg_json

__all__ = [
    "ClipMapper",
    "build_loss_loader",
    "build_test_loader",
    "build_train_loader",
    "check_num_classes",
    "choose_audio_source",
    "ensure_registered",
    "get_categories",
    "get_dataset_records",
    "get_metadata",
    "is_class_agnostic",
    "load_aviseg_json",
    "with_sound",
]

register_builtin()
