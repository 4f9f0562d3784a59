"""The exponential moving average of a model's weights over training, with which it is evaluated.

After each update of the weights w, the average a becomes D a + (1 - D) w. As in Detectron2Go (MODEL_EMA), it
starts as the initial weights, and D is the same from first to last.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from avis.weights import StateDict
from avis.weights.pieces import own_part, piece_of


class WeightAverage:
    """The average of what a model learns: parameters, and statistics of batch norms. The rest is the model's.

    Args:
        model: as it trains, not wrapped. Parts in evaluation mode take no statistics.
        decay: D, between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        # By the model's tensors, of which some have several names.
        self._averages = {tensor: tensor.detach().clone() for tensor in _learning(model)}

    @torch.no_grad()
    def restart(self) -> None:
        """Begin again with the weights as they are."""
        torch._foreach_copy_(*self._parts())

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        # Where both are equal, the result is exactly that: frozen weights do not drift.
        torch._foreach_lerp_(*self._parts(), 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averages inside, and then its own weights, bit by bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> StateDict:
        """The model's state with the averages in it, under all its names."""
        state = self.model.state_dict(keep_vars=True)
        return {name: self._averages.get(tensor, tensor).detach() for name, tensor in state.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over averages; where there is none of a tensor, that begins with the model's value."""
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if tensor in self._averages:
                self._averages[tensor].copy_(piece_of(state.get(name, tensor), tensor))

    @torch.no_grad()
    def _swap(self) -> None:
        # By value: of a model in pieces, others hold the tensors' storage.
        for average, tensor in zip(*self._parts(), strict=True):
            own = tensor.clone()
            tensor.copy_(average)
            average.copy_(own)

    def _parts(self) -> tuple[list[Tensor], list[Tensor]]:
        """This process's averages, and the model's tensors."""
        pairs = self._averages.items()
        return [own_part(average) for _, average in pairs], [own_part(tensor) for tensor, _ in pairs]


def build_average(cfg: CfgNode, model: nn.Module) -> WeightAverage | None:
    """Build the average that SOLVER.EMA_DECAY describes; None where it is 0.

    Raises:
        ValueError: another value than 0 … 1, 1 excluded.
    """
    decay = cfg.SOLVER.EMA_DECAY
    if not 0 <= decay < 1:
        raise ValueError(f"SOLVER.EMA_DECAY is {decay}; it is 0 (no average) or less than 1, such as 0.999")
    return WeightAverage(model, decay) if decay else None


def _learning(model: nn.Module) -> Iterator[Tensor]:
    yield from (parameter for parameter in model.parameters() if parameter.requires_grad)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.training:
            yield from (buffer for buffer in module.buffers(recurse=False) if buffer.is_floating_point())
