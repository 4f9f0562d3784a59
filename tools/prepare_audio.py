#!/usr/bin/env python
"""The command `avis prepare-audio`: see avis/commands/prepare_audio.py."""

from avis.commands.prepare_audio import main

if __name__ == "__main__":
    main()
