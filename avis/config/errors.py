"""The error that explains a mistake in a config."""


class ConfigError(ValueError):
    """A mistake in a config file, on a command line or in a plan; each mistake has one line."""


def one_line(error: object) -> str:
    """The text of an error without its line breaks."""
    return " ".join(str(error).split())
