"""The data sets known by name, and any other by the path of its JSON file."""

import logging
import os
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.utils.logger import log_first_n

from avis.data.avtrack import make_avtrack_records
from avis.data.records import make_picture_records, make_records
from avis.formats.aviseg import split_folder
from avis.formats.avtrack import META, is_avtrack, read_avtrack
from avis.formats.direct import AnyAnnotations, read_any_categories, read_unread_annotations
from avis.formats.tracks import class_indices
from avis.structures import Categories

SPLITS = ("train", "val", "test")
# Sizes of SynthAVIS-Bench, which are presets of tools/make_synthetic.py, too.
BENCH_SIZES = ("tiny", "small", "full")

# Data sets without sound. Names of Detectron2's and Mask2Former's own are theirs.
VISUAL_SETS = {
    **{
        f"youtube_vis_{year}_{split}": f"ytvis_{year}/{file}.json"
        for year in (2019, 2021)
        for split, file in (("train", "train"), ("val", "valid"), ("test", "test"))
    },
    **{
        f"ovis_{split}": f"ovis/annotations_{file}.json"
        for split, file in (("train", "train"), ("val", "valid"), ("test", "test"))
    },
    **{f"coco_clips_{split}": f"coco/annotations/instances_{split}2017.json" for split in ("train", "val")},
}
# As tools/convert_dataset.py makes them.
AVSBENCH_SETS = {
    f"{name}_{split}": f"{name}/{split}.json"
    for name in ("avsbench_s4", "avsbench_ms3", "avss")
    for split in SPLITS
}


def register_builtin() -> None:
    """Register the known data sets below $DETECTRON2_DATASETS, by default ./datasets."""
    register_aviseg("avtrack_test", datasets_root() / "avtrack" / META)
    for name, json_file in (VISUAL_SETS | AVSBENCH_SETS).items():
        register_aviseg(name, datasets_root() / json_file)
    for split in SPLITS:
        register_aviseg(f"avis_{split}", _aviseg_file(split))
        register_aviseg(f"synthavis_{split}", datasets_root() / "synthavis" / f"{split}.json")
        for size in BENCH_SIZES:
            register_aviseg(f"synthavis_{size}_{split}", bench_root(size) / f"{split}.json")


def _aviseg_file(split: str) -> Path:
    """The annotations of a split of AVISeg; v1 has no val.json, its "val" is test.json."""
    json_file, test_file = (datasets_root() / f"{name}.json" for name in (split, "test"))
    return test_file if split == "val" and test_file.is_file() and not json_file.is_file() else json_file


def register_aviseg(name: str, json_file: str | Path) -> None:
    """Make a split known to Detectron2's catalogs; its file is read when its records are asked for.

    A file that is called as AVTrack's is, is read as that.
    """
    DatasetCatalog.register(name, partial(_load_registered, name, json_file))
    MetadataCatalog.get(name).set(json_file=str(json_file), evaluator_type="avis")


def datasets_root() -> Path:
    """Where data sets are looked for."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def bench_root(size: str) -> Path:
    """The folder of a size of SynthAVIS-Bench."""
    return datasets_root() / f"synthavis_{size}"


def ensure_registered(name: str) -> None:
    """Make sure that a data set is known; a name that ends in ".json" is the path of its annotations.

    Raises:
        ValueError: the name is neither registered nor a path to a JSON file.
    """
    if name in DatasetCatalog.list():
        return
    if not name.endswith(".json"):
        known = [
            known
            for known in DatasetCatalog.list()
            if "avis" in known or "avtrack" in known or known in VISUAL_SETS | AVSBENCH_SETS
        ]
        raise ValueError(
            f"unknown data set {name!r}: give the path of a .json file, or one of {sorted(known)}"
        )
    register_aviseg(name, name)


def is_present(name: str) -> bool:
    """Whether a data set is known, by name or path, and its annotations are there if they are a file."""
    if name not in DatasetCatalog.list() and not name.endswith(".json"):
        return False
    ensure_registered(name)
    json_file = getattr(MetadataCatalog.get(name), "json_file", None)
    return json_file is None or Path(json_file).is_file()


def json_file_of(name: str) -> str:
    """Path of the annotations of a data set.

    Raises:
        ValueError: the data set is unknown.
    """
    ensure_registered(name)
    json_file = MetadataCatalog.get(name).json_file
    if name == "avis_val" and Path(json_file).stem != "val":
        message = f"avis_val: AVISeg v1 has no val.json, so this is {json_file}; do not choose a model by it"
        log_first_n(logging.WARNING, message, key="message")
    return json_file


def get_metadata(name: str) -> Metadata:
    """Metadata of a data set, with `thing_classes` and `thing_dataset_id_to_contiguous_id` present.

    Raises:
        ValueError: the data set is unknown, or its annotations are malformed.
        FileNotFoundError: its annotations do not exist.
    """
    json_file, metadata = json_file_of(name), MetadataCatalog.get(name)
    if not hasattr(metadata, "thing_classes"):
        is_speech = is_avtrack(json_file)
        _describe_categories(
            name, read_avtrack(json_file).categories if is_speech else read_any_categories(json_file)
        )
    return metadata


def is_class_agnostic(name: str) -> bool:
    """Whether the classes of what is predicted do not matter on a data set.

    Raises:
        ValueError: the data set is unknown.
    """
    return is_avtrack(json_file_of(name))


def get_categories(name: str) -> Categories:
    """The categories of a data set, by class index.

    Raises:
        ValueError: the data set is unknown, or its annotations are malformed.
        FileNotFoundError: its annotations do not exist.
    """
    metadata = get_metadata(name)
    indices = metadata.thing_dataset_id_to_contiguous_id
    return Categories(tuple(metadata.thing_classes), tuple(sorted(indices, key=indices.get)))


def _load_registered(name: str, json_file: str | Path) -> list[dict]:
    found = _read(json_file)
    _describe_categories(name, found.annotations.categories)
    if is_avtrack(json_file):
        return make_avtrack_records(found.annotations, Path(json_file).parent)
    if found.is_unread:
        records = make_picture_records(found.annotations)
    else:
        records = make_records(found.annotations, split_folder(json_file))
    for record, video in zip(records, found.annotations.videos, strict=True):
        if (frames := found.frames_of(video)) is not None:
            record["file_names"] = [os.path.abspath(frame) for frame in frames]
        record["is_mute"] = found.is_mute
    return records


def _read(json_file: str | Path) -> AnyAnnotations:
    if is_avtrack(json_file):
        return AnyAnnotations(read_avtrack(json_file))
    return read_unread_annotations(Path(json_file))


def _describe_categories(name: str, categories: dict[int, str]) -> None:
    """Put the category names and ids of a split into its metadata."""
    MetadataCatalog.get(name).set(
        thing_classes=list(categories.values()), thing_dataset_id_to_contiguous_id=class_indices(categories)
    )
