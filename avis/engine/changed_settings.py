"""What of a config has changed since a checkpoint: everything takes effect, or the run is refused."""

import json
from collections.abc import Iterator, Mapping

import yaml

# What a resumed run does not read.
_UNREAD = ("MODEL.WEIGHTS", "OUTPUT_DIR", "OVERWRITE_OUTPUT")
# What a run keeps to its end, and why.
_KEPT = {
    "SEED": "the order of the data goes on",
    "SOLVER.OPTIMIZER": "its state is of the other kind",
}


def changed_settings(saved: str, current: str) -> list[str]:
    """Compare two configs, in YAML, in the keys that both have.

    Returns:
        "KEY: before → now" of each value that differs.

    Raises:
        ValueError: one that a run keeps differs.
    """
    before, now = (dict(_leaves(yaml.safe_load(text) or {})) for text in (saved, current))
    changed = [
        key
        for key in before.keys() & now.keys() - set(_UNREAD)
        if json.dumps(before[key]) != json.dumps(now[key])
    ]
    for key in sorted(set(changed) & _KEPT.keys()):
        raise ValueError(
            f"{key} is {now[key]!r}, and {before[key]!r} in the run that is resumed: {_KEPT[key]}. Set it to "
            f"{before[key]!r}, or start anew in another OUTPUT_DIR"
        )
    return [f"{key}: {before[key]!r} → {now[key]!r}" for key in sorted(changed)]


def _leaves(section: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
