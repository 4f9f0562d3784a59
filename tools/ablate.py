#!/usr/bin/env python
"""The command `avis ablate`: see avis/commands/ablate.py."""

from avis.commands.ablate import main

if __name__ == "__main__":
    main()
