"""EdgeVision: compress a vision network, compile it for a named board, run it there, and see what it cost and gained.

The functions here have the names of the commands and do the same:

>>> import edgevision
>>> sorted(edgevision.__all__)
['calibrate', 'check', 'compress', 'deploy', 'profile', 'report', 'reproduce', 'train', 'verify']

`edgevision.compress(...)`, `edgevision.profile(...)` and `edgevision.report(...)` are at the same time the rooms
`edgevision.compress`, `edgevision.profile` and `edgevision.report`.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
__all__ = ["calibrate", "check", "compress", "deploy", "profile", "report", "reproduce", "train", "verify"]

# onnxruntime and NNCF report their use to their makers unless told not to before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("NNCF_CI", "1")

#: Verbs that share their name with a package of ours.
_ROOMS = ("compress", "profile", "report")


class _CallableRoom(ModuleType):
    """A package that can be called: `edgevision.compress(...)` is `edgevision.api.compress(...)`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module("edgevision.api"), self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Face(ModuleType):
    """This package; the import system binds each room on it, and rooms that are verbs become callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOMS and type(value) is ModuleType:
            value.__class__ = _CallableRoom
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    # Late, so that `edgevision --help` needs neither torch nor TVM.
    if name in _ROOMS:
        return importlib.import_module(f"edgevision.{name}")
    if name in __all__:
        return getattr(importlib.import_module("edgevision.api"), name)
    raise AttributeError(f"module 'edgevision' has no attribute '{name}'")


sys.modules[__name__].__class__ = _Face
