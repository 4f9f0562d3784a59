"""Training clips as cards of the page: what the model gets, beside the frames of the data set.

Dimensions: F frames of a clip, N objects, H×W pictures as the model gets them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.structures import Instances

from avis.data.clip_mapper import read_frame
from avis.dataset_tools.gallery.pictures import frame_uri, sound_uri
from avis.dataset_tools.gallery.samples import annotated_tracks, encode, names_in
from avis.structures import Track
from avis.visualization.drawing import track_color


@dataclass(frozen=True)
class ClipFrame:
    """A frame of a clip: in the data set, for the model, and what it hears of it, as data URIs."""

    index: int
    original: str
    picture: str
    heard: str
    names: str


@dataclass(frozen=True)
class Clip:
    """A clip as it is shown."""

    name: str
    data_set: str
    facts: list[str]
    frames: list[ClipFrame]

    @property
    def size(self) -> int:
        """Bytes in the page, nearly."""
        return sum(len(uri) for f in self.frames for uri in (f.original, f.picture, f.heard)) + 2000


def show_clip(clip: Mapping, record: dict, class_names: Sequence[str], image_format: str) -> Clip:
    """Show a clip.

    Args:
        clip: as `ClipMapper` makes it for training.
        record: of its video.
        class_names: of each class index.
        image_format: order of the channels of its images, "RGB" or "BGR".
    """
    indices, instances = clip["frame_indices"], clip["instances"]
    annotated = [a for a in record["annotations"] if not a["iscrowd"]]
    place = {annotation["id"]: number for number, annotation in enumerate(annotated)}
    original = annotated_tracks(record)
    augmented = _tracks(instances)
    colors = [track_color(place[number]) for number in instances[0].gt_ids.tolist()]
    heard = clip.get("audio_examples", clip.get("audio_features"))
    frames = []
    for f, index in enumerate(indices):
        image = clip["image"][f].numpy().transpose(1, 2, 0)
        image = np.ascontiguousarray(image[..., ::-1] if image_format == "BGR" else image)
        frames.append(
            ClipFrame(
                index=index,
                original=frame_uri(read_frame(record, index), original, index, class_names),
                picture=frame_uri(image, augmented, f, class_names, colors),
                heard="" if heard is None else sound_uri(heard[f].numpy()),
                names=names_in(augmented, f, class_names),
            )
        )
    height, width = clip["image"].shape[-2:]
    facts = [
        f"frames {', '.join(map(str, indices))} of {clip['length']}",
        f"{record['width']}×{record['height']} → {width}×{height}",
        _describe_sound(clip),
    ]
    return Clip(str(record.get("name", record["video_id"])), record["data_set"], facts, frames)


def _tracks(instances: Sequence[Instances]) -> list[Track]:
    """The objects of a clip, N tracks of F masks."""
    masks = [frame.gt_masks.tensor.numpy() for frame in instances]
    classes = instances[0].gt_classes.tolist()
    return [
        Track(1.0, category, [encode(frame[number]) for frame in masks])
        for number, category in enumerate(classes)
    ]


def _describe_sound(clip: Mapping) -> str:
    if "audio_examples" in clip:
        return "hears the log-mel of each frame"
    if "audio_features" in clip:
        shape = "×".join(map(str, clip["audio_features"].shape[1:]))
        return f"hears {shape} features of each frame"
    return "hears silence" if "audio_silence" in clip else "does not hear"
