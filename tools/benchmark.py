#!/usr/bin/env python
"""The command `avis benchmark`: see avis/commands/benchmark.py."""

from avis.commands.benchmark import main

if __name__ == "__main__":
    main()
