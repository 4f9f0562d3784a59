#!/usr/bin/env python
"""The command `avis extract`: see avis/commands/extract.py."""

from avis.commands.extract import main

if __name__ == "__main__":
    main()
