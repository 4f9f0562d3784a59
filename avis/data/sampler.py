"""Which clip of the training set comes when: an endless order that depends on a seed and a position alone."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class ClipSampler(Sampler):
    """Endless shuffled passes over a data set, split over processes, that can start anywhere.

    The clip at position p is the same for every number of processes, and process r of R takes the positions p
    with p mod R = r: an iteration consumes the same clips on one process as on several.
    """

    def __init__(self, size: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        """Set up the order.

        Args:
            size: of the data set.
            seed: the same in all processes.
            start: positions already consumed, over all processes.
            rank: of this process.
            world_size: number of processes.
        """
        self.size, self.seed, self.start = size, seed, start
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (position, index into the data set)."""
        position = self.start + self.rank
        epoch, order = None, None
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
            yield position, int(order[position % self.size])
            position += self.world_size
