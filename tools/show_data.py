#!/usr/bin/env python
"""Show data sets on one page: videos with ground truth and sound, and clips as training takes them."""

from avis.commands.show_data import EPILOG, main, parse

__all__ = ["EPILOG", "main", "parse"]

if __name__ == "__main__":
    main()
