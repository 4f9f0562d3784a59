"""The configs that come with the framework, by name: `avis_R50`, `ablations/tiny`.

They are the files of configs/ in a checkout, and lie in this folder where the package was installed.
"""

import difflib
import os
from pathlib import Path

_HERE = Path(__file__).parent
_INSTALLED, _CHECKOUT = _HERE / "files", _HERE.parents[1] / "configs"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


def names() -> list[str]:
    """The names of all configs and plans."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))


def get(name: str) -> Path:
    """The file of a config.

    Args:
        name: as `names` has it; ".yaml" may follow.

    Raises:
        FileNotFoundError: there is no such config.
    """
    known = name.removesuffix(".yaml")
    if known not in names():
        raise FileNotFoundError(f"avis has no config {name!r}{suggest(name)}; avis.configs.names() lists all")
    return FOLDER / f"{known}.yaml"


def find(path: str | Path) -> str:
    """A config file as a user gives it: a path, or the name of one of ours where there is no such file.

    Returns:
        The path; "~" is replaced by the home folder. It may lead nowhere.
    """
    given = os.path.expanduser(path)
    is_ours = not os.path.exists(given) and given.removesuffix(".yaml") in names()
    return str(get(given)) if is_ours else given


def suggest(path: str | Path) -> str:
    """The end of a sentence on a missing file: the config of ours that may be meant, if there is one."""
    close = difflib.get_close_matches(Path(path).name.removesuffix(".yaml"), names(), n=1)
    return f"; did you mean {close[0]!r}, which comes with avis?" if close else ""
