"""Paths that begin with "zoo://", wherever Detectron2's PathManager resolves a path."""

from pathlib import Path
from typing import IO, Any

from detectron2.utils.file_io import PathHandler, PathManager

from avis.zoo import PREFIX, fetch


class ZooPaths(PathHandler):
    """zoo://NAME stands for the file in the cache, which is downloaded when it is first asked for."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **_options: Any) -> str:
        return str(fetch(path))

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **_options: Any) -> IO:
        if mode not in ("r", "rb"):
            raise ValueError(f"{path}: weights of the zoo are read only, not opened as {mode!r}")
        return Path(fetch(path)).open(mode, buffering)


PathManager.register_handler(ZooPaths())
