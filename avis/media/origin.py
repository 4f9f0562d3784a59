"""Files that say what made them: those of the user's are told from ours, and finished ones from others.

A JSON file says it under the key "made_by", a video in its comment, as JSON of the same form.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from avis.files import read_json
from avis.formats.results import MASKS_SUFFIX, RESULTS_SUFFIX
from avis.media.errors import MediaError
from avis.media.video import read_comment


@dataclass(frozen=True)
class Origin:
    """What made a file.

    Attributes:
        program: of ours.
        input: the path of what it was made of.
        run: stands for all else that the content depends on, so that finished files can be kept.
    """

    program: str
    input: str
    run: str = ""

    def to_json(self) -> dict:
        """What a JSON file has beside its content."""
        return {"made_by": asdict(self)}

    def to_comment(self) -> str:
        """What a video has for a comment."""
        return json.dumps(self.to_json())


def read_origin(path: Path) -> Origin | None:
    """What made a .json or a video; None where it does not say so, and is not ours."""
    try:
        content = read_json(path) if path.suffix == ".json" else json.loads(read_comment(path))
        return Origin(**content["made_by"])
    except (FileNotFoundError, KeyError, MediaError, TypeError, ValueError):
        return None


def is_ours(path: Path) -> bool:
    """Whether a video or JSON says that a program of ours made it, or the JSON beside what is made of it."""
    if path.is_file() and path.suffix in (".mp4", ".json") and read_origin(path) is not None:
        return True
    ends = [end for end in (MASKS_SUFFIX, RESULTS_SUFFIX, ".csv") if path.name.endswith(end)]
    beside = [path.with_name(path.name.removesuffix(end) + ".json") for end in ends]
    return any(read_origin(file) is not None for file in beside)


def check_replaceable(path: Path, program: str, input: str, overwrite: bool = False) -> None:
    """Make sure that a file is not there yet, or was made by a program from an input, and may be made anew.

    Args:
        path: of a .json or a video.
        program: that will write it.
        input: path of what it will be made of.
        overwrite: whatever is there may be replaced.

    Raises:
        FileExistsError: something else is there.
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder: choose another --output")
    if overwrite or not os.path.lexists(path):
        return
    found = read_origin(path)
    if found is None or found.program != program:
        raise FileExistsError(
            f"{path} was not made by {program}: choose another --output, or give --overwrite to replace it"
        )
    if found.input != input:
        raise FileExistsError(
            f"{path} was made of {found.input}, not of {input}: choose another --output, or give --overwrite "
            "to replace it"
        )
