"""What a weight file says about its weights: the classes' categories, the config, and the version of AVIS."""

import json
from collections.abc import Mapping
from typing import Any

from avis.structures import Categories

_TEXTS = ("config", "version")


def about(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, as far as it does.

    Args:
        checkpoint: as `read_checkpoint` returns it.

    Returns:
        "categories" ({"id", "name"} of each class), "config" (YAML) and "version"; plain, so safe to load.
    """
    texts = {key: checkpoint[key] for key in _TEXTS if isinstance(checkpoint.get(key), str)}
    categories = categories_of(checkpoint)
    return texts if categories is None else {"categories": categories.to_json(), **texts}


def categories_of(checkpoint: Mapping[str, Any]) -> Categories | None:
    """The classes of the weights in a file; None where it has none, or something else of that name."""
    entries = checkpoint.get("categories")
    is_ours = isinstance(entries, list) and all(
        isinstance(entry, dict) and entry.keys() == {"id", "name"} for entry in entries
    )
    return Categories.from_json(entries) if entries and is_ours else None


def to_metadata(described: Mapping[str, Any]) -> dict[str, str]:
    """What `about` gives as the metadata of .safetensors, which are texts."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in described.items()
    }


def from_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What `about` gave, from the metadata of .safetensors."""
    texts = {key: metadata[key] for key in _TEXTS if key in metadata}
    return {"categories": json.loads(metadata["categories"]), **texts} if "categories" in metadata else texts
