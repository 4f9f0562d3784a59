#!/usr/bin/env python
"""The command `avis zoo`: see avis/commands/zoo.py."""

from avis.commands.zoo import main

if __name__ == "__main__":
    main()
