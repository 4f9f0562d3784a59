"""The model zoo: published weights by name, fetched once, checked and kept. Needs no torch."""

from avis.zoo.cache import cached, fetch, place_of
from avis.zoo.download import DownloadError
from avis.zoo.entries import PREFIX, find, read_zoo

__all__ = ["PREFIX", "DownloadError", "cached", "fetch", "find", "place_of", "read_zoo"]
