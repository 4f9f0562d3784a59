#!/usr/bin/env python
"""The command `avis make-synthetic`: see avis/commands/make_synthetic.py."""

from avis.commands.make_synthetic import main

if __name__ == "__main__":
    main()
