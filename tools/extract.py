#!/usr/bin/env python
"""Cut videos into frames and sound, in the layout of a data set, to be annotated."""

from avis.commands.extract import EPILOG, main, parse

__all__ = ["EPILOG", "main", "parse"]

if __name__ == "__main__":
    main()
