"""What goes wrong with media files, and what is read nevertheless."""

import logging
from functools import cache

logger = logging.getLogger(__name__)


class MediaError(ValueError):
    """A media file cannot be read or written as asked; the message names the file."""


@cache
def warn_once(message: str) -> None:
    """Log a warning about a file, once however often the file is read."""
    logger.warning(message)
