"""Parameters that do not learn, chosen by patterns of their names."""

import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

logger = logging.getLogger(__name__)


def freeze_parameters(model: nn.Module, patterns: Sequence[str]) -> None:
    """Let the parameters whose names match any pattern, as file names do, keep their values.

    Raises:
        ValueError: a pattern matches none.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matched = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matched:
            raise ValueError(
                f"MODEL.FREEZE has {pattern!r}, which is the name of no parameter; names are as "
                f"{next(iter(parameters))!r}, and '*' stands for any text"
            )
        for name in matched:
            parameters[name].requires_grad_(False)
        logger.info("%d parameters are frozen by %r", len(matched), pattern)
