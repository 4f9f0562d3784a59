#!/usr/bin/env python
"""The command `avis evaluate`: see avis/commands/evaluate.py."""

from avis.commands.evaluate import main

if __name__ == "__main__":
    main()
