"""Measuring compressed COCO RLEs, many at once.

An RLE lists the lengths of runs, background first. Compressed, a run is written as its difference to the run
before the last (the first three as they are), in groups of 5 bits, lowest first, one character each, with a
sixth bit where more groups follow. Format: maskApi.c of Lin et al., "Microsoft COCO", 2014.

Dimensions: N masks, R runs of all of them together.
"""

from collections.abc import Sequence

import numpy as np

# Stands for texts with characters that have no byte in ASCII: none of an RLE either.
_MALFORMED = "\x7f"
# Groups of 5 bits that a run of up to 2^32 pixels fills.
_MAX_GROUPS = 7


def measure_rles(counts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels of masks without decoding them.

    pycocotools trusts its input: given an RLE that does not cover its mask, its IoU may never return, and it
    reads beyond the end of one that is cut off. So this comes first.

    Args:
        counts: N compressed RLEs, or any other texts.

    Returns:
        The pixels inside each mask, and the pixels that its runs cover in all, -1 where the RLE is malformed;
        both int64 (N,).
    """
    if not counts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # without a run there is nothing to sum up
    counts = [(text or "0") if text.isascii() else _MALFORMED for text in counts]
    groups = np.frombuffer("".join(counts).encode("ascii"), np.uint8) - np.uint8(ord("0"))
    text_ends = np.cumsum([len(text) for text in counts])
    bad_texts = _bad_texts(groups, text_ends)
    groups[text_ends - 1] &= 0x1F  # what is cut off must not go on in the next text

    lower_groups = np.flatnonzero(groups >= 0x20)
    numbers, too_long = _join_groups(groups, lower_groups)
    bounds = np.concatenate(([0], text_ends - np.searchsorted(lower_groups, text_ends)))
    inside, covered, bad_runs = _sum_runs(numbers, bounds)
    covered[bad_texts] = -1
    covered[bad_runs] = -1
    covered[_mask_of(too_long, bounds)] = -1
    return inside, covered


def _bad_texts(groups: np.ndarray, text_ends: np.ndarray) -> np.ndarray:
    """Indices of the texts that hold a character of no meaning or are cut off."""
    foreign = np.searchsorted(text_ends, np.flatnonzero(groups > 0x3F), side="right")
    return np.union1d(foreign, np.flatnonzero(groups[text_ends - 1] & 0x20))


def _join_groups(groups: np.ndarray, lower_groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number that each run is written as, int64 (R,), and the indices of those with too many groups.

    A number's sign is the fifth bit of its last group.

    Args:
        groups: of all numbers.
        lower_groups: indices of the groups that are not the last of a number.
    """
    last_groups = (groups[groups < 0x20] ^ 0x10).view(np.int8) - np.int8(0x10)
    numbers = last_groups.astype(np.int64)
    if not lower_groups.size:
        return numbers, lower_groups
    run_of_group = lower_groups - np.arange(len(lower_groups))
    starts = np.flatnonzero(np.diff(run_of_group, prepend=-1))
    runs, sizes = run_of_group[starts], np.diff(starts, append=len(run_of_group))
    places = np.minimum(np.arange(len(lower_groups)) - np.repeat(starts, sizes), _MAX_GROUPS)
    lower = np.add.reduceat((groups[lower_groups] & 0x1F).astype(np.int64) << (5 * places), starts)
    numbers[runs] = (numbers[runs] << (5 * np.minimum(sizes, _MAX_GROUPS))) + lower
    return numbers, runs[sizes >= _MAX_GROUPS]


def _sum_runs(numbers: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Undo the differences and sum the runs of each mask.

    Every other number is a chain of differences: its running sums are the runs, but for what the chain has
    reached before the mask, and for the first number of a mask, which no run refers to.

    Args:
        numbers: int64 (R,), as the runs are written.
        bounds: where the masks' runs begin, and R, (N + 1,).

    Returns:
        The pixels inside each mask and those covered, int64 (N,), and the masks with a negative run.
    """
    inside, covered = np.zeros((2, len(bounds) - 1), np.int64)
    bad_masks = []
    for parity in range(2):
        chain = np.ascontiguousarray(numbers[parity::2])
        chain_bounds = (bounds + 1 - parity) // 2
        starts, is_first = chain_bounds[:-1], bounds[:-1] % 2 == parity
        reached = _running_sums(chain)
        runs = reached[1:] - np.repeat(reached[starts + is_first], np.diff(chain_bounds))
        runs[starts[is_first]] = chain[starts[is_first]]
        totals = np.diff(_running_sums(runs)[chain_bounds])
        covered += totals
        inside += np.where(is_first, 0, totals)
        bad_masks.append(_mask_of(np.flatnonzero(runs < 0), chain_bounds))
    return inside, covered, np.concatenate(bad_masks)


def _running_sums(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, … of the values."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def _mask_of(runs: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The masks that runs belong to, given where each mask's runs begin and end."""
    return np.searchsorted(bounds, runs, side="right") - 1
