#!/usr/bin/env python
"""The command `avis compare`: see avis/commands/compare.py."""

from avis.commands.compare import main

if __name__ == "__main__":
    main()
