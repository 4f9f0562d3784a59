#!/usr/bin/env python
"""The command `avis visualize`: see avis/commands/visualize.py."""

from avis.commands.visualize import main

if __name__ == "__main__":
    main()
