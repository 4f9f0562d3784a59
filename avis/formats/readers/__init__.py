"""Readers of annotations in many formats, which all give the same: videos, and objects in them."""
