"""A clone of Mask2Former's repository, whose code is the original that ours is compared with.

https://github.com/facebookresearch/Mask2Former (Cheng et al., 2022; for video, 2021). It is imported in
processes of its own alone, as its parts are registered under the names of ours.
"""

import importlib
import sys
import types
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

CONFIG = "configs/youtubevis_2019/video_maskformer2_R50_bs16_8ep.yaml"
_WANTED = ("mask2former/__init__.py", "mask2former_video/__init__.py", CONFIG)
_EXTENSION = "MultiScaleDeformableAttention"


def check_clone(path: Path) -> Path:
    """The absolute path of a clone.

    Raises:
        FileNotFoundError: it is none; the message says what it lacks.
    """
    missing = [name for name in _WANTED if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path} is no clone of Mask2Former: it has no {missing[0]}; "
            "git clone https://github.com/facebookresearch/Mask2Former makes one"
        )
    return path.absolute()


def import_clone(path: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """The modules `mask2former` and `mask2former_video`.

    Where its compiled extension cannot be imported, an empty module stands in for it, and so for Detectron2's
    own. Deformable attention then takes the clone's form in plain torch.
    """
    for name in missing_extensions():
        sys.modules[name] = types.ModuleType(name)
    sys.path.insert(0, str(path))
    warnings.simplefilter("ignore")  # they are about the age of its code
    return importlib.import_module("mask2former"), importlib.import_module("mask2former_video")


def missing_extensions() -> Sequence[str]:
    """Compiled extensions that the clone wants and this environment lacks."""
    wanted = (_EXTENSION, "detectron2._C")
    return [name for name in wanted if name not in sys.modules and find_spec(name) is None]


def note() -> str:
    """How the original computes deformable attention here."""
    form = (
        "its own torch form, as its extension is not compiled"
        if find_spec(_EXTENSION) is None
        else "its extension"
    )
    return (
        "The original is Mask2Former's own code for video, in float32, with its own config. "
        f"For deformable attention it takes {form}."
    )
