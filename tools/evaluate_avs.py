#!/usr/bin/env python
"""Score instances as audio-visual segmentation: see avis/commands/evaluate_avs.py."""

from avis.commands.evaluate_avs import main

if __name__ == "__main__":
    main()
