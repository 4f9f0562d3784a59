"""Unpickling weights. A pickle is a program: nothing it names is run, and it has no way to foreign memory.

Python's own reader, in C, would follow a pickle into NumPy's memory and its own. This one is in Python and
checks whatever it builds: tensors, arrays of numbers and plain containers. Of every other object (a config, a
path, a namespace of arguments) a `StandIn` remains, which keeps the name of its class alone.
"""

import pickle
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from torch import Tensor

from avis.weights.arrays import with_byte_order
from avis.weights.pickled_objects import (
    StandIn,
    UnfinishedArray,
    make,
    make_array,
    meaning_of,
    plain_key,
    plain_keys,
)


class WeightUnpickler(pickle._Unpickler):
    """Unpickles tensors, arrays of numbers and plain containers, and stand-ins for everything else.

    Args:
        file: its reads must be bounded by its size, as those of a BytesIO or a memory map are.
        load_storage: gives the flat tensor of a storage for what PyTorch wrote in its place.
    """

    def __init__(self, file: BinaryIO, load_storage: Callable[..., Tensor] | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._load_storage = load_storage

    def find_class(self, module: str, name: str) -> object:
        """What a pickle means by a name."""
        return meaning_of(module, name)

    def persistent_load(self, pid: object) -> object:
        """The storage that PyTorch keeps elsewhere in the file."""
        if isinstance(pid, tuple) and pid[0] == "module":  # a class and its source, before the object
            return pid[1]
        if self._load_storage is None or not isinstance(pid, tuple) or pid[0] != "storage":
            raise pickle.UnpicklingError("it refers to something outside of the file")
        return self._load_storage(*pid[1:])

    def _load_call(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = make(self.stack[-1], args)

    def _load_call_with_keywords(self) -> None:
        self.stack.pop()
        self._load_call()

    def _instantiate(self, klass: object, args: list) -> None:
        self.append(make(klass, args))

    def _load_state(self) -> None:
        state = self.stack.pop()
        unfinished = self.stack[-1]
        if isinstance(unfinished, np.dtype):
            self._replace(unfinished, with_byte_order(unfinished, state))
        elif isinstance(unfinished, UnfinishedArray):
            _version, shape, dtype, is_fortran, content = state
            self._replace(unfinished, make_array(content, dtype, shape, "F" if is_fortran else "C"))

    def _replace(self, unfinished: object, value: object) -> None:
        """Put the finished object where the unfinished is, which was noted a few steps ago."""
        self.stack[-1] = value
        for key in reversed(self.memo):
            if self.memo[key] is unfinished:
                self.memo[key] = value
                return

    def _takes(self, container: type) -> bool:
        """Whether items are put into a container; a stand-in loses them."""
        if not isinstance(self.stack[-1], container | StandIn):
            raise pickle.UnpicklingError(f"a {type(self.stack[-1]).__name__} takes no items")
        return isinstance(self.stack[-1], container)

    def _load_append(self) -> None:
        self._append_all([self.stack.pop()])

    def _load_appends(self) -> None:
        self._append_all(self.pop_mark())

    def _append_all(self, items: list) -> None:
        if self._takes(list):
            self.stack[-1].extend(items)

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_all(items)

    def _load_setitem(self) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        self._set_all(items)

    def _load_setitems(self) -> None:
        self._set_all(self.pop_mark())

    def _set_all(self, items: list) -> None:
        if self._takes(dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                self.stack[-1][plain_key(key)] = value

    def _load_additems(self) -> None:
        items = self.pop_mark()
        if self._takes(set):
            self.stack[-1].update(plain_keys(items))

    def _load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(plain_keys(items)))

    def _load_bytearray(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))

    dispatch = {  # noqa: RUF012
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: _load_call,
        pickle.NEWOBJ[0]: _load_call,
        pickle.NEWOBJ_EX[0]: _load_call_with_keywords,
        pickle.BUILD[0]: _load_state,
        pickle.APPEND[0]: _load_append,
        pickle.APPENDS[0]: _load_appends,
        pickle.DICT[0]: _load_dict,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.FROZENSET[0]: _load_frozenset,
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }
