#!/usr/bin/env python
"""The command `avis train`: see avis/commands/train.py."""

from avis.commands.train import main

if __name__ == "__main__":
    main()
