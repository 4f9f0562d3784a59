"""A split that is being made: in a hidden folder beside its place, until it is whole.

<root>/.<split>.unfinished/recipe.json      of what it is made, so that a run can go on where one was ended
<root>/.<split>.unfinished/videos/<number>.json      written when the files of a video are whole
<root>/.<split>.unfinished/<split>/, <split>.json    the split
"""

import fcntl
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avis.files import read_json, write_json
from avis.media.origin import Origin, read_origin

logger = logging.getLogger(__name__)


class UnfinishedSplit:
    """A split on its way to <root>/<split>.json and the folder <root>/<split>."""

    def __init__(self, root: Path, split: str, program: str, recipe: Any) -> None:
        """Keep where it belongs, what makes it, and a JSON of all that its content depends on.

        Raises:
            ValueError: the split's name is no name of a file.
        """
        if not split or split != Path(split).name or split.startswith("."):
            raise ValueError(f"the split {split!r} is not a name such as 'train'")
        digest = hashlib.blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=16)
        self.origin = Origin(program, split, digest.hexdigest())
        self.final_json, self.final_folder = root / f"{split}.json", root / split
        self._work = root / f".{split}.unfinished"
        self.json_file, self.folder = self._work / f"{split}.json", self._work / split
        self._old = self._work / "replaced"

    def is_complete(self, overwrite: bool) -> bool:
        """Whether the same recipe has made the split already.

        Raises:
            FileExistsError: something else is there, and may not be replaced.
        """
        if self.final_json.is_file() and read_origin(self.final_json) == self.origin:
            return self.final_folder.is_dir()
        is_between = self.json_file.is_file() and not self.folder.exists()  # of a run killed while it moved
        for path in (self.final_json, self.final_folder):
            if path.exists() and not overwrite and not is_between:
                raise FileExistsError(
                    f"{path} is there already, made otherwise: choose another --output or --split, or give "
                    "--overwrite to replace it when the new one is whole"
                )
        return False

    def keep_apart(self, files: Iterable[Path]) -> None:
        """Make sure that nothing which is read would be replaced.

        Raises:
            FileExistsError: a file or folder lies where the split belongs; the message names it.
        """
        places = [self.final_json.absolute().resolve(), self.final_folder.absolute().resolve()]
        for file in files:
            path = file.absolute().resolve()
            if any(path == place or place in path.parents for place in places):
                raise FileExistsError(
                    f"{file} is read, and lies where the split would be put: choose another --output or "
                    "--split"
                )

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder this run's own: go on where an ended run of the same recipe was, or begin anew.

        Raises:
            FileExistsError: another run is at work there.
        """
        self._work.mkdir(parents=True, exist_ok=True)
        with (self._work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FileExistsError(f"{self._work}: another run is at work there; wait for it") from error
            self._claim()
            try:
                yield
            finally:
                if not (self._work / "videos").exists() and not self.json_file.exists():
                    shutil.rmtree(self._work, ignore_errors=True)  # nothing that a run could go on from

    def _claim(self) -> None:
        recipe_file = self._work / "recipe.json"
        found = read_origin(recipe_file)
        if found == self.origin:
            logger.info("going on where a run was ended, in %s", self._work)
            return
        for path in (self.folder, self._work / "videos"):
            shutil.rmtree(path, ignore_errors=True)
        self.json_file.unlink(missing_ok=True)
        write_json(recipe_file, self.origin.to_json())

    def state_of(self, number: int) -> dict[str, Any] | None:
        """What was noted of a video when its files were whole; None: they are not."""
        path = self._state_file(number)
        return read_json(path) if path.is_file() else None

    def note(self, number: int, state: dict[str, Any]) -> None:
        """Note that the files of a video are whole."""
        write_json(self._state_file(number), state)

    def publish(self) -> None:
        """Move the whole split to its place, its JSON last: where that is, the split is complete."""
        if self.folder.exists():
            self.final_json.unlink(missing_ok=True)
            if self.final_folder.exists():
                shutil.rmtree(self._old, ignore_errors=True)
                self.final_folder.rename(self._old)
            self.folder.rename(self.final_folder)
        self.json_file.rename(self.final_json)
        shutil.rmtree(self._work)

    @property
    def only_json_is_left(self) -> bool:
        """Whether a run was killed between its last two steps."""
        return self.json_file.is_file() and not self.folder.exists() and self.final_folder.is_dir()

    def _state_file(self, number: int) -> Path:
        return self._work / "videos" / f"{number:06d}.json"
