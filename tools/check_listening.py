#!/usr/bin/env python
"""The command `avis check-listening`: see avis/commands/check_listening.py."""

from avis.commands.check_listening import main

if __name__ == "__main__":
    main()
