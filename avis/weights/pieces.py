"""Tensors of which each process has a piece, as SOLVER.FSDP makes them: PyTorch's DTensors."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def is_piece(value: object) -> bool:
    """Whether a tensor is one of which this process has a piece alone."""
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


def piece_of(value: Tensor, like: Tensor) -> Tensor:
    """The piece of a whole tensor that this process has of `like`; of one that is no piece, all of it."""
    if not is_piece(like) or is_piece(value):
        return value
    from torch.distributed.tensor import distribute_tensor  # here, as few runs need it

    # None: every process has the whole, so that nothing needs to be sent.
    value = value.to(like.device, like.dtype)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def own_part(value: Tensor) -> Tensor:
    """What this process has of a tensor, in the same memory."""
    return value.to_local() if is_piece(value) else value


def whole(value: Tensor) -> Tensor:
    """The whole tensor of pieces; all processes must call this."""
    return value.full_tensor() if is_piece(value) else value


def gathered(node: Any, keep: bool) -> Any:
    """Nested dicts with whole tensors on the host in the place of pieces; all processes must call this.

    Args:
        node: the dicts.
        keep: whether this process needs the tensors; otherwise there is None in their place.
    """
    if isinstance(node, Mapping):
        return {key: gathered(value, keep) for key, value in node.items()}
    if not is_piece(node):
        return node
    tensor = node.full_tensor()
    return tensor.cpu() if keep else None
