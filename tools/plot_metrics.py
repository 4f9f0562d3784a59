#!/usr/bin/env python
"""The command `avis plot`: see avis/commands/plot.py."""

from avis.commands.plot import main

if __name__ == "__main__":
    main()
