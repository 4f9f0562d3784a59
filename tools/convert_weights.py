#!/usr/bin/env python
"""The command `avis convert-weights`: see avis/commands/convert_weights.py."""

from avis.commands.convert_weights import main

if __name__ == "__main__":
    main()
