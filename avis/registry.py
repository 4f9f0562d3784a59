"""Registries of parts that a config names.

A part is a class or a function, built as ``part(cfg, shapes)``. ``cfg`` is the whole config. ``shapes`` says
by name what the part takes, as Detectron2's `ShapeSpec`; each registry documents its names.
"""

from collections.abc import Callable, Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from fvcore.common.registry import Registry

Shapes = Mapping[str, ShapeSpec]


class PartRegistry(Registry):
    """The parts of one kind by name.

    Register a part with ``@REGISTRY.register()`` in a module of your own, and name the module in IMPORTS.
    """

    def __init__(self, key: str) -> None:
        """Make an empty registry.

        Args:
            key: the config key that names a part.
        """
        super().__init__(key)
        self.key = key

    def register(self, part: Callable | None = None, *, name: str = "") -> Any:
        """Register a class or function under its own or another name; also as a decorator."""
        if part is None:
            return lambda decorated: self.register(decorated, name=name)
        self._do_register(name or part.__name__, part)
        return part

    def build(self, name: str, cfg: CfgNode, shapes: Shapes) -> Any:
        """Build a part.

        Raises:
            KeyError: no part of that name is registered.
        """
        if name not in self:
            known = ", ".join(repr(known) for known, _ in self)
            raise KeyError(
                f"{self.key} is {name!r}, but registered are {known}. "
                "IMPORTS names modules with further parts"
            )
        return self.get(name)(cfg, shapes)
