"""What is in the zoo: weights.yaml beside this file, and files of the same form that $AVIS_ZOO names."""

import difflib
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml

PREFIX = "zoo://"
OWN_ZOOS = "AVIS_ZOO"
HASHES = ("sha256", "md5")

_PUBLISHED = Path(__file__).with_name("weights.yaml")
_OF_GROUPS = {"page", "licence", "address", "by_hand", "files"}
_OF_FILES = {"file", "megabytes", "config", "what", "figures", *HASHES}
_NEEDED = {"file", "config", "what"}
_DIGITS = set("0123456789abcdef")
_NEAREST = 3


@dataclass(frozen=True)
class Entry:
    """One file of weights.

    Attributes:
        name: in the zoo.
        address: of the file; of a page for a browser where it is fetched `by_hand`.
        what: it is.
        config: one that takes it.
        figures: what it reaches, "" where nothing is known.
        page: that describes it, "" where there is none.
        licence: "" where none is stated.
        by_hand: no program can fetch it.
        algorithm: of its published digest, "" where there is none.
        digest: hexadecimal digits of it, or the first ones.
        megabytes: None where nothing is known.
    """

    name: str
    address: str
    what: str
    config: str
    figures: str = ""
    page: str = ""
    licence: str = ""
    by_hand: bool = False
    algorithm: str = ""
    digest: str = ""
    megabytes: float | None = None

    @property
    def file_name(self) -> str:
        """What the file is called in the cache; its format is told by its content."""
        suffix = "" if self.by_hand else PurePosixPath(urlsplit(self.address).path).suffix
        return f"{self.name}{suffix or '.pth'}"


def find(name: str) -> Entry:
    """The entry of a name.

    Args:
        name: with or without "zoo://".

    Raises:
        ValueError: the zoo has none; the message lists all, those first that are written alike.
    """
    name, zoo = name.removeprefix(PREFIX), read_zoo()
    if name in zoo:
        return zoo[name]
    by_lower = {known.lower(): known for known in zoo}
    close = difflib.get_close_matches(name.lower(), by_lower, _NEAREST, cutoff=0.4)
    near = [by_lower[known] for known in close]
    meant = f"; nearest: {', '.join(near)}" if near else ""
    others = ", ".join(sorted(zoo.keys() - set(near)))
    raise ValueError(f"{PREFIX}{name}: the zoo has no such weights{meant}; it also has {others}")


def read_zoo() -> dict[str, Entry]:
    """All entries by name; those of $AVIS_ZOO, paths with ":" between them, win over the published ones.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is malformed; the message names file and entry.
    """
    own = [Path(path).expanduser() for path in os.environ.get(OWN_ZOOS, "").split(os.pathsep) if path]
    return {name: entry for path in (_PUBLISHED, *own) for name, entry in _read(path).items()}


def _read(path: Path) -> dict[str, Entry]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"${OWN_ZOOS}: there is no file {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    entries: dict[str, Entry] = {}
    for title, group in _mapping(content, str(path)).items():
        where = f"{path}: {title}"
        _check_keys(_mapping(group, where), where, _OF_GROUPS, {"files"})
        for name, file in _mapping(group["files"], where).items():
            if str(name) in entries:
                raise ValueError(f"{where}, {name}: the name is there twice")
            entries[str(name)] = _entry(
                str(name), group, _mapping(file, f"{where}, {name}"), f"{where}, {name}"
            )
    return entries


def _entry(name: str, group: Mapping[str, Any], file: Mapping[str, Any], where: str) -> Entry:
    _check_keys(file, where, _OF_FILES, _NEEDED)
    if not name or {"/", "\\"} & set(name) or name.startswith("."):
        raise ValueError(f"{where}: a name of the zoo is the name of a file, too")
    address = f"{group.get('address', '')}{file['file']}"
    if not address.startswith(("https://", "http://")):
        raise ValueError(f"{where}: {address} is no address; it begins with https:// or http://")
    algorithm = next((algorithm for algorithm in HASHES if algorithm in file), "")
    digest = _digest(file[algorithm], algorithm, where) if algorithm else ""
    megabytes = file.get("megabytes")
    if megabytes is not None and (type(megabytes) not in (int, float) or not 0 < megabytes < math.inf):
        raise ValueError(f"{where}: megabytes is {megabytes!r:.40}, not a number above 0")
    for key in ("file", "what", "config", "figures"):
        if key in file and not isinstance(file[key], str | int | float):
            raise ValueError(f"{where}: {key} is {file[key]!r:.40}, not a text")
    texts = {key: str(file[key]) for key in ("what", "config", "figures") if key in file}
    origin = {key: str(group[key]) for key in ("page", "licence") if key in group}
    return Entry(
        name, address, **texts, **origin, by_hand=bool(group.get("by_hand")),
        algorithm=algorithm, digest=digest, megabytes=megabytes,
    )  # fmt: skip


def _digest(digest: Any, algorithm: str, where: str) -> str:
    most = 2 * hashlib.new(algorithm).digest_size
    if not isinstance(digest, str) or set(digest) - _DIGITS or not 0 < len(digest) <= most:
        raise ValueError(
            f"{where}: {algorithm} is {digest!r:.80}, not 1 to {most} small hexadecimal digits in quotation "
            "marks"
        )
    return digest


def _mapping(content: object, where: str) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(
            f"{where}: it is {type(content).__name__}, not a mapping as docs/weights.md shows it"
        )
    return content


def _check_keys(content: Mapping[str, Any], where: str, known: set[str], needed: set[str]) -> None:
    if unknown := sorted(map(str, content.keys() - known)):
        raise ValueError(f"{where}: {unknown[0]!r} is none of {', '.join(sorted(known))}")
    if missing := sorted(needed - content.keys()):
        raise ValueError(f"{where}: {missing[0]!r} is missing")
