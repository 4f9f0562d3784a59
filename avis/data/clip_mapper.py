"""Record of a video → what the model takes: a few frames in training, all of them in evaluation.

Dimensions: T frames of the video, F frames of the clip, N objects, H×W images after augmentation.
"""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from avis.data.audio_source import AudioSource
from avis.data.augmentation import build_augmentations
from avis.data.clip_audio import VideoSound, load_examples, load_features
from avis.data.example_cache import ExampleCache
from avis.data.preprocessing import draw_preparation, prepare_frames
from avis.data.video_frames import PreparedReading, VideoFrames
from avis.formats.audio_features import read_provenance
from avis.formats.segmentation import decode_segmentations
from avis.media.errors import MediaError
from avis.media.pictures import PictureSizeError, read_picture

# What `read_frame` needs of a record.
_OF_FRAMES = ("video_id", "file_names", "height", "width")


class ClipMapper:
    """Turns records into model inputs; only the frames of the clip are decoded.

    Random choices come from numpy's global generator, as Detectron2's augmentations do.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation],
        image_format: str,
        audio_source: AudioSource,
        fps: float,
        feature_dim: int,
        sampling_frame_num: int,
        sampling_frame_range: int,
        sampling_frame_shuffle: bool,
        filter_empty_clips: bool,
    ) -> None:
        """Keep the settings.

        Args:
            is_train: clips with their objects, not whole videos without.
            augmentations: drawn once a clip.
            image_format: order of the channels, "RGB" or "BGR".
            audio_source: waveform or features, and what is known of these; or nothing.
            fps: frames per second of the videos.
            feature_dim: channels of the audio features.
            sampling_frame_num: F, frames of a training clip.
            sampling_frame_range: frames are drawn at most this far from a clip's reference frame.
            sampling_frame_shuffle: leave the frames in the order in which they were drawn.
            filter_empty_clips: take reference frames only where an object sounds.
        """
        if sampling_frame_num < 1:
            raise ValueError(
                f"INPUT.SAMPLING_FRAME_NUM is {sampling_frame_num}, a clip has at least one frame"
            )
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.audio_source = audio_source
        self.fps, self.feature_dim = fps, feature_dim
        self._examples = ExampleCache(fps)
        self.sampling_frame_num = sampling_frame_num
        self.sampling_frame_range = sampling_frame_range
        self.sampling_frame_shuffle = sampling_frame_shuffle
        self.filter_empty_clips = filter_empty_clips

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool, audio_source: AudioSource | str | None) -> dict:
        """Arguments of the class from a config and `audio_of_run`'s choice, or its kind alone."""
        known = isinstance(audio_source, AudioSource)
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "audio_source": audio_source if known else AudioSource(audio_source),
            "fps": cfg.INPUT.FPS,
            "feature_dim": cfg.MODEL.AUDIO.FEATURE_DIM,
            "sampling_frame_num": cfg.INPUT.SAMPLING_FRAME_NUM,
            "sampling_frame_range": cfg.INPUT.SAMPLING_FRAME_RANGE,
            "sampling_frame_shuffle": cfg.INPUT.SAMPLING_FRAME_SHUFFLE,
            "filter_empty_clips": cfg.INPUT.FILTER_EMPTY_CLIPS,
        }

    def __call__(self, record: dict) -> dict:
        """Load a clip, or in evaluation the whole video.

        Args:
            record: of a video, as `load_aviseg_json` makes them; it is not changed.

        Returns:
            A dict. "image" has F uint8 tensors (3, H, W) as one. In evaluation it is `VideoFrames`, which
            decode frames when they are asked for. Sound comes by `audio_source`: "audio_examples", float32
            (F, 96, 64) log-mel, or "audio_features", (F, A) or (F, S, A) of S separated sources, row f for
            frame f. "audio_weights" is the digest of the weights that made features, if known. Silence whose
            features no file says is "audio_silence", S. "frame_indices" and "file_names" are of the F frames,
            and "height", "width", "length" and "video_id" of the video. Training clips also have "instances",
            from `load_instances`, and "num_sounding", from `count_sounding`.

        Raises:
            ValueError: a frame, mask or sound is missing or broken; the message names video, frame and file.
                Of a whole video the first frame is read here, and others when they are asked for.
        """
        frame_indices = self.choose_frames(record) if self.is_train else list(range(record["length"]))
        clip = self._load_clip(record, frame_indices) if self.is_train else {"image": self._frames_of(record)}
        clip |= {
            "frame_indices": frame_indices,
            "file_names": [record["file_names"][index] for index in frame_indices],
            **{key: record[key] for key in ("height", "width", "length", "video_id")},
        }
        return clip | self._load_audio(VideoSound.of(record), frame_indices)

    def _load_clip(self, record: dict, frame_indices: list[int]) -> dict:
        """The images of a training clip, and its objects."""
        frames = (read_frame(record, index) for index in frame_indices)
        images, _, transforms = prepare_frames(
            frames, self.augmentations, self.image_format, len(frame_indices)
        )
        return {
            # One tensor: a loader's worker hands each over in a piece of memory of its own.
            "image": torch.stack(images),
            "instances": load_instances(record, frame_indices, transforms, tuple(images[0].shape[1:])),
            "num_sounding": count_sounding(record, frame_indices),
        }

    def _frames_of(self, record: dict) -> VideoFrames:
        """The frames of a whole video, which are decoded when they are asked for."""
        # What a loader's worker hands over shall not be the annotations, too.
        read = partial(read_frame, {key: record[key] for key in _OF_FRAMES})
        prepare, _ = draw_preparation(read(0), self.augmentations, self.image_format, record["length"])
        return VideoFrames(PreparedReading(read, prepare), record["length"])

    def _load_audio(self, sound: VideoSound, frame_indices: list[int]) -> dict:
        """What a clip holds of its sound."""
        source = self.audio_source
        if source.kind is None:
            return {}
        if source.kind == "waveform":
            load = self._examples.load if self.is_train else partial(load_examples, fps=self.fps)
            return {"audio_examples": load(sound, frame_indices)}
        if sound.features_file is not None:
            features = load_features(sound, frame_indices, self.feature_dim)
            made = read_provenance(sound.features_file)
            return {"audio_features": features, **({"audio_weights": made.weights} if made else {})}
        if source.silence is None:
            return {"audio_silence": source.num_sources}
        silence = torch.tensor(source.silence).expand(len(frame_indices), source.num_sources, -1)
        return {"audio_features": silence}

    def choose_frames(self, record: dict) -> list[int]:
        """Draw the F frames of a training clip."""
        length = record["length"]
        sounding = sounding_frames(record) if self.filter_empty_clips else []
        reference = np.random.choice(sounding) if len(sounding) else np.random.randint(length)
        chosen = sample_frames(length, int(reference), self.sampling_frame_num, self.sampling_frame_range)
        return chosen if self.sampling_frame_shuffle else sorted(chosen)


def sample_frames(length: int, reference: int, number: int, reach: int) -> list[int]:
    """Draw the frames of a clip: a reference frame and others around it.

    No frame comes twice unless the video is too short.

    Args:
        length: frames of the video.
        reference: a frame of it, which comes first.
        number: frames of the clip.
        reach: the others lie within ± this many frames; where these are too few, the nearest do.

    Returns:
        `number` indices of frames.
    """
    others = np.delete(np.arange(length), reference)
    distance = np.abs(others - reference)
    nearest_first = others[np.argsort(distance, kind="stable")]
    candidates = nearest_first[: max(int((distance <= reach).sum()), number - 1)]
    if len(candidates) >= number - 1:
        chosen = np.random.choice(candidates, number - 1, replace=False)
    else:
        repeated = np.random.choice(length, number - 1 - len(candidates))
        chosen = np.concatenate([np.random.permutation(candidates), repeated])
    return [reference, *chosen.tolist()]


def sounding_frames(record: dict) -> list[int]:
    """Frames in which at least one object, crowds apart, has a mask."""
    return count_sounding(record, range(record["length"])).nonzero().flatten().tolist()


def count_sounding(record: dict, frame_indices: Sequence[int]) -> Tensor:
    """How many objects, crowds apart, have a mask in each of F frames, int64 (F,); crops change nothing."""
    masks = [a["segmentations"] for a in record["annotations"] if not a["iscrowd"]]
    return torch.tensor([sum(bool(track[index]) for track in masks) for index in frame_indices])


def read_frame(record: dict, index: int) -> np.ndarray:
    """Read a frame of a video.

    Returns:
        RGB uint8 (height, width, 3).

    Raises:
        ValueError: the file is missing, broken or of another size than the annotations say.
    """
    path = record["file_names"][index]
    where = f"video {record['video_id']!r} frame {index}"
    try:
        return read_picture(path, (record["height"], record["width"]))
    except PictureSizeError as error:
        raise ValueError(f"{where}: {path} is {error.found}, the annotations say {error.wanted}") from error
    except MediaError as error:
        raise ValueError(f"{where}: {error}") from error


def load_instances(
    record: dict, frame_indices: Sequence[int], transforms: Sequence[T.Transform], size: tuple[int, int]
) -> list[Instances]:
    """Decode and transform the masks of a clip.

    Args:
        record: of the video; its crowd annotations are left out.
        frame_indices: F indices of frames.
        transforms: applied to the masks of each of the frames, F.
        size: (H, W) that they give.

    Returns:
        One `Instances` (`gt_masks`, `gt_classes`, `gt_ids`) a frame, with the same objects in the same order:
        those that have a mask in at least one of the frames after the transform. Where an object is silent,
        its mask is empty and its class stays.

    Raises:
        ValueError: a mask is malformed; the message names video, annotation and frame.
    """
    tracks = [
        annotation
        for annotation in record["annotations"]
        if not annotation["iscrowd"] and any(annotation["segmentations"][index] for index in frame_indices)
    ]
    masks = np.zeros((len(frame_indices), len(tracks), *size), bool)
    places = [
        (position, number)
        for position, index in enumerate(frame_indices)
        for number, track in enumerate(tracks)
        if track["segmentations"][index]
    ]
    stored = decode_masks(record, [(tracks[number], frame_indices[position]) for position, number in places])
    for (position, number), mask in zip(places, stored, strict=True):
        masks[position, number] = transforms[position].apply_segmentation(mask)
    seen = masks.any(axis=(2, 3)).any(axis=0)
    kept = [track for track, is_seen in zip(tracks, seen.tolist(), strict=True) if is_seen]
    classes = torch.tensor([track["category_id"] for track in kept], dtype=torch.int64)
    ids = torch.tensor([track["id"] for track in kept], dtype=torch.int64)
    # The frames share one tensor of each, which a loader's worker hands over at once.
    shown = torch.from_numpy(masks if seen.all() else masks[:, seen])
    return [Instances(size, gt_masks=BitMasks(frame), gt_classes=classes, gt_ids=ids) for frame in shown]


def decode_masks(record: dict, wanted: Sequence[tuple[dict, int]]) -> list[np.ndarray]:
    """Decode masks of a video, given the annotation and the frame of each.

    Returns:
        Of each uint8 (height, width) of 0 and 1.

    Raises:
        ValueError: a mask is malformed; the message names data set, video, annotation and frame.
    """
    data_set = f"{record['data_set']}: " if "data_set" in record else ""
    names = [
        f"{data_set}video {record['video_id']!r} annotation {annotation['id']!r} frame {index}"
        for annotation, index in wanted
    ]
    segmentations = [annotation["segmentations"][index] for annotation, index in wanted]
    decoded = decode_segmentations(segmentations, names, record["height"], record["width"])
    # From columns to rows by OpenCV, which takes a tenth of numpy's time.
    return [cv2.transpose(mask.T) for mask in decoded]
