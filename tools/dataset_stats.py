#!/usr/bin/env python
"""The command `avis stats`: see avis/commands/stats.py."""

from avis.commands.stats import main

if __name__ == "__main__":
    main()
