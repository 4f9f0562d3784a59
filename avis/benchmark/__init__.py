"""Measuring the framework itself: data of any scale, and runs of programs in fresh processes."""
