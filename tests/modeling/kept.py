"""What a computation keeps for its gradients."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def kept_tensors() -> Iterator[list[Tensor]]:
    """The list fills up with the tensors that operations within keep."""
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        yield kept


def sizes_of(kept: Iterable[Tensor], parameters: Iterable[Tensor] = ()) -> list[int]:
    """Bytes of each piece of memory that they take, without that of parameters."""
    pieces = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}
    known = {x.untyped_storage().data_ptr() for x in parameters}
    return [size for address, size in pieces.items() if address not in known]
