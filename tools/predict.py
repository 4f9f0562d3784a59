#!/usr/bin/env python
"""Find the sounding objects of videos: see avis/commands/predict.py."""

from avis.commands.predict import main

if __name__ == "__main__":
    main()
