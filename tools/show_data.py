#!/usr/bin/env python
"""The command `avis show-data`: see avis/commands/show_data.py."""

from avis.commands.show_data import main

if __name__ == "__main__":
    main()
