"""Files with two sets of weights: those that were trained last, and their average over training."""

from avis.weights.reading import read_checkpoint

# In a checkpoint, beside "model": its tensors, averaged (SOLVER.EMA_DECAY).
AVERAGED = "ema_model"


def read_weights(path: str, averaged: bool = True) -> tuple[dict, str]:
    """Read a file for its weights alone, as for prediction and for training that starts from them.

    Args:
        path: as `read_checkpoint` takes it.
        averaged: take the averaged weights where the file has some.

    Returns:
        The content as `read_checkpoint` gives it, with the weights under "model"; and which of two sets they
        are, in words, "" where there is one.

    Raises:
        FileNotFoundError: as `read_checkpoint`.
        OSError: as `read_checkpoint`.
        ValueError: as `read_checkpoint`, or the two sets have not the same names.
    """
    checkpoint = read_checkpoint(path)
    average = checkpoint.pop(AVERAGED, None)
    if average is None:
        return checkpoint, ""
    if not isinstance(average, dict) or average.keys() != checkpoint["model"].keys():
        raise ValueError(f"{path}: its {AVERAGED!r} does not have the names of its 'model'")
    if not averaged:
        return checkpoint, f"the weights trained last are taken, not their average {AVERAGED!r}"
    checkpoint["model"] = average
    return checkpoint, f"the averaged weights {AVERAGED!r} are taken, not those trained last"
