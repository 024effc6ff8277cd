"""Names of a room that are imported on first use, so that one of them does not cost the import of all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy(room: str, module_of: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`.

    Parameters
    ----------
    room : str
        The package's `__name__`.
    module_of : dict of str
        For each name the module of the package that has it. A module must not have the name of something else that is
        listed: importing it would put it in that one's place.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes the package's
        if name not in module_of:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        value = getattr(import_module(f"{room}.{module_of[name]}"), name)
        setattr(sys.modules[room], name, value)
        return value

    return __getattr__, lambda: sorted(module_of)
