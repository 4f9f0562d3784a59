"""YAML files that include others through _BASE_: a file's own keys win over its base's."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import yaml
from detectron2.utils.file_io import PathManager

from avis import configs
from avis.config.errors import ConfigError, one_line

BASE_KEY = "_BASE_"
# What PyYAML raises on content that it cannot read, beside its own errors.
_YAML_MISTAKES = (AttributeError, LookupError, OSError, TypeError, ValueError, yaml.YAMLError)


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file, merged into the files that it includes.

    Raises:
        ConfigError: as `read_yaml_files`, or a section replaces what is no section in a base.
    """
    merged: dict = {}
    for source, content in read_yaml_files(path):
        _merge(content, merged, source)
    return merged


def read_yaml_files(path: str | Path) -> list[tuple[str, dict]]:
    """Read a YAML file and the files that it includes.

    YAML is data here: tags that would run code are refused.

    Args:
        path: of the file, or the name of one of `avis.configs`; "~" is the home folder.

    Returns:
        (path, content) of each file, bases first.

    Raises:
        ConfigError: a file is missing, holds no keys, or includes itself.
    """
    return list(_read(configs.find(path), ()))


def _read(path: str, including: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    chain = (*including, path)
    files = [os.path.realpath(file) for file in chain]
    if files[-1] in files[:-1]:
        circle = chain[files.index(files[-1]) :]
        raise ConfigError(f"{circle[0]} includes itself through {BASE_KEY} ({' → '.join(circle)})")
    content = _load(path, including)
    for base in _pop_bases(content, path):
        yield from _read(base, chain)
    yield path, content


def _load(path: str, including: tuple[str, ...]) -> dict:
    try:
        with PathManager.open(path) as file:
            return parse_yaml(file, path)
    except FileNotFoundError as error:
        missing = f"{including[-1]}: there is no {BASE_KEY}" if including else "config file not found:"
        hint = "" if including else configs.suggest(path)
        raise ConfigError(f"{missing} {path}{hint}") from error
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read as YAML: {one_line(error)}") from error


def parse_yaml(text: str | TextIO, source: str) -> dict:
    """The keys and values of YAML.

    Args:
        text: or a file that is open.
        source: what it is called in messages.

    Raises:
        ConfigError: it cannot be read, or holds no keys.
    """
    try:
        content = yaml.safe_load(text)
    except RecursionError as error:
        raise ConfigError(f"{source}: it is nested too deep") from error
    except _YAML_MISTAKES as error:
        raise ConfigError(f"{source}: it cannot be read as YAML: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: it has no KEY: VALUE lines")
    return content


def _pop_bases(content: dict, path: str) -> list[str]:
    bases = content.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: {BASE_KEY} is a file or a list of files, not {bases!r:.60}")
    return [_resolve(os.path.expanduser(base), path) for base in bases]


def _resolve(base: str, path: str) -> str:
    is_url = base.startswith(("https://", "http://"))
    return base if is_url else os.path.join(os.path.dirname(path), base)


def _merge(content: dict, into: dict, source: str) -> None:
    for key, value in content.items():
        if not isinstance(value, dict) or key not in into:
            into[key] = value
        elif isinstance(into[key], dict):
            _merge(value, into[key], source)
        else:
            raise ConfigError(f"{source}: {key} is a section here, but not in {BASE_KEY}")
