#!/usr/bin/env python
"""The command `avis predict`: see avis/commands/predict.py."""

from avis.commands.predict import main

if __name__ == "__main__":
    main()
