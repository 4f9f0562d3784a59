#!/usr/bin/env python
"""The command `avis convert`: see avis/commands/convert.py."""

from avis.commands.convert import main

if __name__ == "__main__":
    main()
