#!/usr/bin/env python
"""Published weights by name: list them, show one, fetch it before it is needed."""

from avis.commands.zoo import EPILOG, main, parse

__all__ = ["EPILOG", "main", "parse"]

if __name__ == "__main__":
    main()
