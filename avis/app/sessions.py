"""The files of the page: a folder of this process, and in it one for each session (an open tab).

A session's files go when its tab is closed, and all when the program ends. What a killed program has left
goes with the next start.
"""

import os
import re
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avis.files import is_running

# Uploads that no session has used, such as those of a tab that was closed meanwhile, go after an hour.
_UNUSED_SECONDS = 3600
_NAME = re.compile(r"avis-app-(\d+)-.*")


@dataclass(eq=False)
class Session:
    """What belongs to an open tab.

    Attributes:
        folder: of its own.
        uploads: folders of its uploads; others who have uploaded the same file share them.
        lock: held while its files are made.
        stop: set when what is under way shall end.
        result: of the last prediction.
    """

    folder: Path
    uploads: set[Path] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    result: Any = None

    def new_folder(self) -> Path:
        """An empty folder; what the session had made before is deleted."""
        for path in self.folder.iterdir():
            shutil.rmtree(path)
        return Path(tempfile.mkdtemp(dir=self.folder))


class Workspace:
    """The folder of this process; its sessions are known by keys that browsers choose."""

    def __init__(self) -> None:
        """Make a folder that nobody else can read, in the system's temporary folder (TMPDIR)."""
        _remove_leftovers(Path(tempfile.gettempdir()))
        self.folder = Path(tempfile.mkdtemp(prefix=f"avis-app-{os.getpid()}-")).resolve()
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def session(self, key: str) -> Session:
        """The session of a key, a new one if there is none."""
        with self._lock:
            self._sweep()
            if key not in self._sessions:
                self._sessions[key] = Session(Path(tempfile.mkdtemp(prefix="session-", dir=self.folder)))
            return self._sessions[key]

    def stop(self, key: str) -> None:
        """End what a session is waiting for, soon."""
        if session := self._sessions.get(key):
            session.stop.set()

    def add_upload(self, session: Session, file: Path) -> None:
        """Note that a session has uploaded a file, which lies in a folder of its own in this one.

        Raises:
            ValueError: it lies elsewhere.
        """
        folder = file.resolve().parent
        if folder.parent != self.folder:
            raise ValueError(f"{file} is no upload")
        with self._lock:
            session.uploads.add(folder)

    def close(self, key: str) -> None:
        """End a session: what it does stops, and its files are deleted."""
        with self._lock:
            session = self._sessions.pop(key, None)
            if session is None:
                return
            still_used = {folder for other in self._sessions.values() for folder in other.uploads}
        session.stop.set()
        with session.lock:  # once nothing is written there any more
            for folder in (session.folder, *(session.uploads - still_used)):
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """End all sessions, and delete the folder."""
        for key in list(self._sessions):
            self.close(key)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Delete old uploads that no session uses."""
        used = {
            folder for session in self._sessions.values() for folder in (session.folder, *session.uploads)
        }
        for folder in self.folder.iterdir():
            with suppress(FileNotFoundError):  # deleted by its session meanwhile
                if folder not in used and folder.stat().st_mtime < time.time() - _UNUSED_SECONDS:
                    shutil.rmtree(folder)


def _remove_leftovers(parent: Path) -> None:
    """Remove the folders of programs that run no more; in containers, one often had this one's number."""
    for folder in parent.glob("avis-app-*"):
        name = _NAME.fullmatch(folder.name)
        if name and (int(name[1]) == os.getpid() or not is_running(int(name[1]))):
            # Another process may have removed it meanwhile, and another user's may stay.
            with suppress(FileNotFoundError, PermissionError):
                shutil.rmtree(folder)
