#!/usr/bin/env python
"""Serve a web page that finds what sounds in a video: see avis/commands/app.py."""

from avis.commands.app import main

if __name__ == "__main__":
    main()
