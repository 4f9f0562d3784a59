#!/usr/bin/env python
"""The command `avis plan-scale`: see avis/commands/plan_scale.py."""

from avis.commands.plan_scale import main

if __name__ == "__main__":
    main()
