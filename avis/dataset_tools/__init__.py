"""Whole data sets: statistics, validation, audio features."""
