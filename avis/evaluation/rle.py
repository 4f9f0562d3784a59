"""Measuring compressed COCO RLEs, many at once.

An RLE lists the lengths of runs, background first. Compressed, a run is written as its difference to the run
before the last (the first three as they are), in groups of 5 bits, lowest first, one character each, with a
sixth bit where more groups follow. Format: maskApi.c of Lin et al., "Microsoft COCO", 2014.

Dimensions: N masks, R runs of all of them together.
"""

from collections.abc import Sequence

import numpy as np

# Groups of 5 bits that a run of up to 2^32 pixels fills.
_MAX_GROUPS = 7


def measure_rles(counts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels of masks without decoding them.

    pycocotools trusts its input: given an RLE that does not cover its mask, its IoU may never return, and it
    reads beyond the end of one that is cut off. So this comes first.

    Args:
        counts: N compressed RLEs, ASCII.

    Returns:
        The pixels inside each mask, and the pixels that its runs cover in all, -1 where the RLE is malformed;
        both int64 (N,).
    """
    if not counts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    counts = [text or "0" for text in counts]  # without a run there is nothing to sum up
    groups = np.frombuffer("".join(counts).encode("ascii"), np.uint8) - np.uint8(ord("0"))
    text_ends = np.cumsum([len(text) for text in counts])
    bad_texts = _bad_texts(groups, text_ends)
    groups[text_ends - 1] &= 0x1F  # what is cut off must not go on in the next text

    last_groups = np.flatnonzero(groups < 0x20)
    widths = np.diff(last_groups, prepend=-1)
    stops = np.searchsorted(last_groups, text_ends)
    runs = _undo_differences(_join_groups(groups, last_groups, widths), stops)

    starts = _starts(stops)
    covered = np.add.reduceat(runs, starts)
    covered[bad_texts] = -1
    covered[np.searchsorted(stops, np.flatnonzero((runs < 0) | (widths > _MAX_GROUPS)), side="right")] = -1
    return _inside(runs, starts, covered), covered


def _starts(stops: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], stops[:-1]))


def _bad_texts(groups: np.ndarray, text_ends: np.ndarray) -> np.ndarray:
    """Indices of the texts that hold a character of no meaning or are cut off."""
    foreign = np.searchsorted(text_ends, np.flatnonzero(groups > 0x3F), side="right")
    return np.union1d(foreign, np.flatnonzero(groups[text_ends - 1] & 0x20))


def _join_groups(groups: np.ndarray, last_groups: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The number that each run is written as, int64 (R,); its sign is the last group's fifth bit."""
    numbers = ((groups[last_groups] & 0x1F).astype(np.int64) ^ 0x10) - 0x10
    for place in range(1, _MAX_GROUPS):
        longer = np.flatnonzero(widths > place)
        if not longer.size:
            break
        numbers[longer] = (numbers[longer] << 5) | (groups[last_groups[longer] - place] & 0x1F)
    return numbers


def _undo_differences(numbers: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Run lengths from numbers: a sum over every other number since the mask's beginning, without its first.

    The sums go over all masks at once; what they have reached at a mask's beginning is then taken off.

    Args:
        numbers: int64 (R,), as the runs are written.
        stops: index after the last run of each mask, (N,).

    Returns:
        int64 (R,).
    """
    starts, num_runs = _starts(stops), np.diff(stops, prepend=0)
    padded = np.zeros((len(numbers) + 3) // 2 * 2, np.int64)
    padded[2 : len(numbers) + 2] = numbers
    sums = padded.reshape(-1, 2).cumsum(axis=0).ravel()
    # sums[i + 2] ends with number i, so the sums at a mask's beginning are those at `starts` + 1 and + 2.
    odd_start = starts % 2
    reached = np.empty_like(numbers)
    reached[0::2] = np.repeat(sums[starts + 2 - odd_start], num_runs)[0::2]
    reached[1::2] = np.repeat(sums[starts + 1 + odd_start], num_runs)[1::2]
    runs = sums[2 : len(numbers) + 2] - reached
    runs[starts] = numbers[starts]
    return runs


def _inside(runs: np.ndarray, starts: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Sums of the runs at odd places, counted from the beginning of each mask."""
    at_odd_index = runs.copy()
    at_odd_index[0::2] = 0
    sums = np.add.reduceat(at_odd_index, starts)
    return np.where(starts % 2, covered - sums, sums)
