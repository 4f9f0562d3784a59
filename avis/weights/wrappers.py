"""What wrappers put before the names of a model's weights, such as torch.compile and distributed training."""

import re
from collections.abc import Iterable

# Of one module, wherever it is: torch.compile, fully sharded training, activation checkpointing.
_OF_A_MODULE = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Of the whole model: DistributedDataParallel, and classes for training that keep the model in an attribute.
_OF_A_MODEL = ("module.", "model.")
# What torch's AveragedModel has beside the model.
_BESIDE = "n_averaged"


def plain_names(names: Iterable[str]) -> list[str]:
    """The names without what wrappers put before them; prefixes of the whole model only if all have them."""
    names = list(names)
    plain = [_OF_A_MODULE.sub("", name) for name in names]
    while prefix := _shared_prefix(plain):
        plain = [name.removeprefix(prefix) for name in plain]
    return plain if len(set(plain)) == len(plain) else names


def _shared_prefix(names: list[str]) -> str | None:
    prefixed = [name for name in names if name != _BESIDE]
    return next((p for p in _OF_A_MODEL if prefixed and all(name.startswith(p) for name in prefixed)), None)
