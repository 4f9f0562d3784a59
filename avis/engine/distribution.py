"""How a model is spread over the processes: as copies that share gradients, or in pieces.

Copies are PyTorch's DistributedDataParallel. Pieces (SOLVER.FSDP) are its fully_shard, which follows Zhao et
al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", 2023. Each process keeps a piece of
every parameter, of its gradient and of the optimizer's state. A block is whole only while it computes.
"""

import copy
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum

import torch
from detectron2.utils import comm
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from avis.audio.weights import audio_backbone_of
from avis.structures import Categories
from avis.weights.pieces import whole

# Where blocks and layers are whole one after the other. The rest of the model is whole for a whole step.
_IN_BLOCKS = ("backbone", "sem_seg_head")
# Smaller ones stay with the rest: a message of its own would cost more than it saves.
MIN_BLOCK = 100_000
# Kinds of attributes that say in which state a module is.
_PLAIN = (bool, int, float, str, Enum, Categories)


class ModelInPieces(nn.Module):
    """A model of which each process keeps a piece of every parameter; its names are those of the model.

    Args:
        model: on its device; becomes the one in pieces.

    Raises:
        ValueError: blocks share a parameter, which would be in two pieces.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        blocks = list(_blocks(model))
        _refuse_shared(model, blocks)
        _send(p.detach() for p in model.parameters())
        _send(model.buffers())
        # In a list, as it is no part of this module.
        self._without_parameters = [_without_parameters(model)]
        mesh = init_device_mesh(next(model.parameters()).device.type, (comm.get_world_size(),))
        for block in blocks:
            methods = _methods(block)
            fully_shard(block, mesh=mesh)
            for method in methods:
                register_fsdp_forward_method(block, method)
        self.module = fully_shard(model, mesh=mesh, ignored_params=_kept_whole(model))

    def forward(self, *inputs: object) -> object:
        """What the model gives."""
        return self.module(*inputs)

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """A whole copy of the model as long as the block runs; all processes must call this."""
        (model,) = self._without_parameters
        for own_module, module in zip(model.modules(), self.module.modules(), strict=True):
            state = {name: value for name, value in vars(module).items() if isinstance(value, _PLAIN)}
            vars(own_module).update(state)
        for own, buffer in zip(model.buffers(), self.module.buffers(), strict=True):
            own.copy_(buffer)
        placeholders = dict(model.named_parameters())
        for name, parameter in self.module.named_parameters():
            _set_parameter(model, name, nn.Parameter(whole(parameter.detach()), parameter.requires_grad))
        try:
            yield model
        finally:
            for name, placeholder in placeholders.items():
                _set_parameter(model, name, placeholder)


def distribute(model: nn.Module, in_pieces: bool) -> nn.Module:
    """Wrap a model so that the processes train it together; one process alone takes it as it is.

    Args:
        model: on its device.
        in_pieces: SOLVER.FSDP.

    Raises:
        ValueError: it cannot be in pieces.
    """
    if comm.get_world_size() == 1:
        return model
    if in_pieces:
        return ModelInPieces(model)
    device = next(model.parameters()).device
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself."""
    return model.module if isinstance(model, DistributedDataParallel | ModelInPieces) else model


@contextmanager
def to_evaluate(model: nn.Module) -> Iterator[nn.Module]:
    """The model with which each process can evaluate on its own; all processes must call this.

    Wrappers synchronise processes, which in evaluation take different numbers of videos. Every process gets
    the main one's running statistics, which are those that checkpoints hold.
    """
    inner = unwrapped(model)
    if inner is not model:
        _send(inner.buffers())
    if isinstance(model, ModelInPieces):
        with model.whole() as copy_of_model:
            yield copy_of_model
    else:
        yield inner


def _send(tensors: Iterable[torch.Tensor]) -> None:
    """Give every process what the main one has."""
    for tensor in tensors:
        torch.distributed.broadcast(tensor, src=0)


def _without_parameters(model: nn.Module) -> nn.Module:
    """A copy whose parameters have no values."""
    empty = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, empty)


def _kept_whole(model: nn.Module) -> set[nn.Parameter]:
    """The parameters of a frozen audio backbone: features are compared with a digest of them."""
    backbone = audio_backbone_of(model)
    parameters = set() if backbone is None else set(backbone.parameters())
    return set() if any(p.requires_grad for p in parameters) else parameters


def _set_parameter(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, own_name = name.rpartition(".")
    setattr(model.get_submodule(owner), own_name, parameter)


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The elements of the innermost lists of modules that are large enough, and not a single operation."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or not name.startswith(_IN_BLOCKS):
            continue
        for block in module:
            has_lists = any(isinstance(part, nn.ModuleList | nn.Sequential) for part in block.modules())
            size = sum(p.numel() for p in block.parameters())
            if not has_lists and any(block.children()) and size >= MIN_BLOCK:
                yield block


def _methods(block: nn.Module) -> list[str]:
    """The methods beside `forward` by which others may use a block."""
    own = inspect.getmembers(type(block), inspect.isfunction)
    return [name for name, _ in own if not name.startswith("_") and not hasattr(nn.Module, name)]


def _refuse_shared(model: nn.Module, blocks: list[nn.Module]) -> None:
    names = {id(p): name for name, p in model.named_parameters()}
    owners: dict[int, nn.Module] = {}
    rest = [module for module in model.modules() if not any(module in set(b.modules()) for b in blocks)]
    for block in blocks:
        for p in block.parameters():
            in_rest = any(p is other for module in rest for other in module.parameters(recurse=False))
            if in_rest or owners.setdefault(id(p), block) is not block:
                raise ValueError(f"SOLVER.FSDP: {names[id(p)]} belongs to several blocks; set it to False")
