"""What a training step changes even where it fails, noted at its start: generators and statistics."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from avis.engine.rng import get_rng_state, set_rng_state


class StepStart:
    """Goes back to the state after the last whole step; weights change in the last act of a step alone.

    Attributes:
        done: the iteration of that step; None before there is one.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]
        self._values: list = []
        self._rng_state: dict = {}
        self._is_within = False
        self.done: int | None = None

    def begin(self) -> None:
        """Note the state."""
        self._values = [buffer.clone() for buffer in self._statistics]
        self._rng_state = get_rng_state()
        self._is_within = True

    def end(self, iteration: int) -> None:
        """The step is whole."""
        self._is_within = False
        self.done = iteration

    def restore(self) -> dict:
        """Go back, if a step has begun.

        Returns:
            The state of the generators.
        """
        if self._is_within:
            for buffer, value in zip(self._statistics, self._values, strict=True):
                buffer.copy_(value)
            set_rng_state(self._rng_state)
        return get_rng_state()
