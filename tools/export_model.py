#!/usr/bin/env python
"""The command `avis export`: see avis/commands/export.py."""

from avis.commands.export import main

if __name__ == "__main__":
    main()
