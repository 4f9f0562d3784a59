#!/usr/bin/env python
"""The command `avis validate`: see avis/commands/validate.py."""

from avis.commands.validate import main

if __name__ == "__main__":
    main()
