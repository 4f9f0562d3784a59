"""The random numbers at the start of a step, which draws some even where it fails."""

from avis.engine.rng import get_rng_state, set_rng_state


class StepStart:
    """Goes back to the state after the last whole step; weights change in the last act of a step alone.

    Attributes:
        done: the iteration of that step; None before there is one.
    """

    def __init__(self) -> None:
        self._rng_state: dict = {}
        self._is_within = False
        self.done: int | None = None

    def begin(self) -> None:
        """Note the state."""
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
            set_rng_state(self._rng_state)
        return get_rng_state()
