"""Configs as dotted keys."""

from collections.abc import Iterator
from operator import attrgetter

from detectron2.config import CfgNode


def walk(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted key, value) of all sections and values."""
    for name, value in cfg.items():
        yield prefix + name, value
        if isinstance(value, CfgNode):
            yield from walk(value, f"{prefix}{name}.")


def leaves(cfg: CfgNode) -> dict[str, object]:
    """The values by their dotted keys, without the sections."""
    return {key: value for key, value in walk(cfg) if not isinstance(value, CfgNode)}


def has(cfg: CfgNode, key: str) -> bool:
    """Whether there is a section or value with this dotted key."""
    section, name = _split(cfg, key)
    return name in section


def set_value(cfg: CfgNode, key: str, value: object) -> None:
    """Set a dotted key, whose section is there."""
    section, name = _split(cfg, key)
    section[name] = value


def delete(cfg: CfgNode, key: str) -> None:
    """Delete a dotted key."""
    section, name = _split(cfg, key)
    del section[name]


def nested(key: str, value: object) -> dict:
    """The value in a dict for each part of the dotted key."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _split(cfg: CfgNode, key: str) -> tuple[CfgNode, str]:
    section, _, name = key.rpartition(".")
    return attrgetter(section)(cfg) if section else cfg, name
