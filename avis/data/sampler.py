"""Which clip of the training set comes when: an endless order that depends on a seed and a position alone."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class ClipSampler(Sampler):
    """Endless shuffled passes over a data set, split over processes, that can start anywhere.

    The clip at position p is the same for every number of processes. Process r of R takes the positions p
    with p mod R = r. So an iteration consumes the same clips on one process as on several.
    """

    def __init__(
        self, repeats: Sequence[float], seed: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        """Set up the order.

        Args:
            repeats: how often each item of the data set comes in a pass, on average; 1 is once in every pass.
            seed: the same in all processes.
            start: positions already consumed, over all processes.
            rank: of this process.
            world_size: number of processes.
        """
        self.seed, self.start = seed, start
        self.rank, self.world_size = rank, world_size
        ends = np.cumsum(repeats, dtype=float)
        self.length = max(round(ends[-1]), 1)
        self._ends = ends * (self.length / ends[-1])
        self._ends[-1] = self.length  # whatever the rounding

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (position, index into the data set)."""
        position = self.start + self.rank
        epoch, order = None, None
        while True:
            if position // self.length != epoch:
                epoch = position // self.length
                order = self._order(epoch)
            yield position, int(order[position % self.length])
            position += self.world_size

    def _order(self, epoch: int) -> np.ndarray:
        """The items of a pass, each as often as whole numbers lie in its stretch of a shifted line."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.length)
        times = np.diff(np.floor(self._ends + rng.random()), prepend=0).astype(int)
        return np.repeat(np.arange(len(times)), times)[order]
