"""What the model of a run hears, waveforms or features: one choice for all its data sets.

Training and evaluation must hear alike. So the choice looks at every data set of the run, and what a data set
lacks for it is an error, not silence.

Dimensions: S separated sources, A audio channels.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.config import CfgNode

from avis.audio.provenance import BARE_BACKBONE, Reader, describe
from avis.config import hears
from avis.formats.audio_features import Provenance, count_sources, open_features, read_provenance
from avis.formats.aviseg import SOUNDS

logger = logging.getLogger(__name__)

AUDIO_SOURCES = ("auto", "features", "waveform")
# How far features of silence differ by the order of sums.
_TOLERANCE = 1e-3

DataSets = Mapping[str, Sequence[dict]]


@dataclass(frozen=True)
class AudioSource:
    """What a model hears.

    Attributes:
        kind: "waveform", "features", or None if it does not hear.
        num_sources: S, sources that the features of a video hold.
        silence: features of silence, (A,), where the files say them.
    """

    kind: str | None
    num_sources: int = 1
    silence: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("waveform", "features", None):
            raise ValueError(f"audio_source is {self.kind!r}, not 'waveform', 'features' or None")


def choose_audio_source(cfg: CfgNode, records: Sequence[dict]) -> str | None:
    """Choose what a model hears on the records of one data set; see `audio_of_run`."""
    return audio_of_run(cfg, {"the records": records}).kind


def audio_of_run(cfg: CfgNode, data_sets: DataSets, silenced: Collection[str] = ()) -> AudioSource:
    """Choose what a model hears in a run.

    INPUT.AUDIO.SOURCE "auto" takes features where every sounding video of all data sets has them and they
    come from the model's own frozen audio backbone. Files that do not say are taken for VGGish's. Separated
    sources (INPUT.AUDIO.NUM_SOURCES) are taken as features only.

    Args:
        cfg: INPUT.AUDIO, INPUT.FPS and MODEL.
        data_sets: records by the name of their data set.
        silenced: names of data sets whose sound is not heard, so may lack.

    Raises:
        ValueError: an unknown SOURCE; a data set has no sound, or not that which the choice needs; features
            of another backbone or number of sources, or for a backbone that is to be trained. The message
            names the data set or file.
    """
    options = cfg.INPUT.AUDIO
    _check_options(options)
    if not hears(cfg):
        return AudioSource(None)
    needed = {name: records for name, records in data_sets.items() if name not in silenced}
    _refuse_soundless(needed, options.FEATURES_DIR)
    if options.SOURCE == "waveform":
        return _waveforms(needed, options.FEATURES_DIR)
    objection = _objection_to_features(cfg, needed)
    made = {} if objection else _makers(data_sets)
    objection = objection or _objection_to_makers(Reader(cfg), made)
    objection = objection or _objection_to_sources(options.NUM_SOURCES, made)
    if objection and (options.SOURCE == "features" or options.NUM_SOURCES > 1):
        raise ValueError(f"{_why_features(options)}, but {objection}")
    if objection or (options.SOURCE == "auto" and not made and options.NUM_SOURCES == 1):
        return _waveforms(needed, options.FEATURES_DIR, objection)
    return _features(made, options.NUM_SOURCES)


def _check_options(options: CfgNode) -> None:
    """Refuse values of INPUT.AUDIO that contradict each other or mean nothing."""
    if options.SOURCE not in AUDIO_SOURCES:
        raise ValueError(f"INPUT.AUDIO.SOURCE is {options.SOURCE!r}, not one of {AUDIO_SOURCES}")
    if options.NUM_SOURCES < 1:
        raise ValueError(f"INPUT.AUDIO.NUM_SOURCES is {options.NUM_SOURCES}, it is 1 or more")
    if options.NUM_SOURCES > 1 and options.SOURCE == "waveform":
        raise ValueError(
            f"INPUT.AUDIO.SOURCE is 'waveform', but {_why_features(options)}: choose 'features' or 'auto'"
        )


def _why_features(options: CfgNode) -> str:
    """What in the config asks for features."""
    if options.NUM_SOURCES == 1:
        return f"INPUT.AUDIO.SOURCE is {options.SOURCE!r}"
    return f"INPUT.AUDIO.NUM_SOURCES is {options.NUM_SOURCES}, and separated sources come as features only"


def _refuse_soundless(data_sets: DataSets, features_dir: str) -> None:
    for name, records in data_sets.items():
        is_mute = all(record.get("is_mute") for record in records)  # it has no sound by its nature
        if not is_mute and not any(
            record["audio_file"] or record["audio_features_file"] for record in records
        ):
            raise ValueError(
                f"data set {name!r}: none of its {len(records)} videos has sound in {SOUNDS} or features in "
                f"{features_dir}, but the model hears. Put the sound there, or set MODEL.AUDIO.NAME '' for a "
                "model that does not hear, or INPUT.AUDIO.AT_TEST silent to test in silence"
            )


def _objection_to_features(cfg: CfgNode, data_sets: DataSets) -> str:
    """Why the model cannot take features, whoever has made them; an empty string if it can."""
    if not cfg.MODEL.AUDIO.FREEZE:
        return (
            "features that are computed already cannot train the audio backbone: this needs "
            "MODEL.AUDIO.FREEZE True"
        )
    for name, records in data_sets.items():
        lacking = [r["video_id"] for r in records if r["audio_file"] and not r["audio_features_file"]]
        if lacking:
            return (
                f"{len(lacking)} videos have none in {cfg.INPUT.AUDIO.FEATURES_DIR}, the first is "
                f"{lacking[0]!r} of data set {name!r}; tools/prepare_audio.py makes them; or choose "
                "'waveform'"
            )
    return ""


def _makers(data_sets: DataSets) -> dict[str, Provenance | None]:
    """Who has made each file of features, None where it does not say."""
    files = (record["audio_features_file"] for records in data_sets.values() for record in records)
    return {file: read_provenance(file) for file in files if file}


def _objection_to_makers(reader: Reader, made: Mapping[str, Provenance | None]) -> str:
    """Why files are not of the model's backbone, or not all of one; an empty string if they are."""
    first: tuple[str, Provenance] | None = None
    for file, maker in made.items():
        if objection := reader.objection(maker):
            return f"{file} was {objection}. tools/prepare_audio.py makes features anew; or choose 'waveform'"
        if maker is None:
            continue
        first = first or (file, maker)
        if (maker.backbone, maker.weights) != (first[1].backbone, first[1].weights):
            return f"{file} was made by {describe(maker)}, {first[0]} by {describe(first[1])}"
    return ""


def _objection_to_sources(num_sources: int, files: Iterable[str]) -> str:
    """Which features are not of as many separated sources as the config says; an empty string if none."""
    for file in files:
        if (found := count_sources(file)) != num_sources:
            return f"{file} has {found} separated sources, INPUT.AUDIO.NUM_SOURCES is {num_sources}"
    return ""


def _features(made: Mapping[str, Provenance | None], num_sources: int) -> AudioSource:
    """Features, with what their files have in common."""
    bare = [file for file, maker in made.items() if maker is None]
    if bare:
        logger.info(
            "%d files of features, the first is %s, do not say what made them: taken for %s's",
            len(bare), bare[0], BARE_BACKBONE,
        )  # fmt: skip
    silence = next((maker.silence for maker in made.values() if maker), None)
    return AudioSource("features", num_sources, silence)


def _waveforms(data_sets: DataSets, features_dir: str, objection: str = "") -> AudioSource:
    """Waveforms, unless the model would be deaf to videos that have features of sound, but no sound."""
    for name, records in data_sets.items():
        without = [r for r in records if r["audio_features_file"] and not r["audio_file"]]
        deaf = [record for record in without if not _is_silence(record["audio_features_file"])]
        if deaf:
            reason = f" ('auto' takes no features: {objection})" if objection else ""
            raise ValueError(
                f"data set {name!r}: INPUT.AUDIO.SOURCE comes to waveforms{reason}, but {len(deaf)} videos "
                f"have features in {features_dir} and no sound in {SOUNDS}, the first is "
                f"{deaf[0]['video_id']!r}. Put the sound there, or choose INPUT.AUDIO.SOURCE features"
            )
    return AudioSource("waveform")


def _is_silence(file: str) -> bool:
    """Whether features are those of silence, as far as the file says how this sounds."""
    made = read_provenance(file)
    if made is None:
        return False
    features = open_features(file)
    return features.shape[-1] == len(made.silence) and np.allclose(features, made.silence, atol=_TOLERANCE)
