"""What goes wrong with media files."""


class MediaError(ValueError):
    """A media file cannot be read or written as asked; the message names the file."""
