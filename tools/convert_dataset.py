#!/usr/bin/env python
"""Convert annotations of other programs and data sets into a data set of this framework."""

from avis.commands.convert import EPILOG, main, parse

__all__ = ["EPILOG", "main", "parse"]

if __name__ == "__main__":
    main()
