"""What all visitors of a server share: the store, the settings, what was read for one and serves the others, who may
write, and a line in the log for whoever did."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from taxidask.errors import AccessError
from taxidask.runs.starting import Starter

if TYPE_CHECKING:
    from taxidask.results import Store
    from taxidask.settings import Settings

T = TypeVar("T")

audit_log = logging.getLogger("taxidask.audit")
LOCAL_USER = "local"
"""Who a visitor is where nobody signs in."""
_MOST = 200  # things kept for all visitors; what was not asked for longest goes first


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun_at: float = float("-inf")
    read_at: float = float("-inf")
    used_at: float = 0.0
    value: Any = None


@dataclass
class AppState:
    """What the pages of one server have in common.

    Parameters
    ----------
    store : Store
        Where everything that the pages show comes from.
    settings : Settings
        Of the server: its lake is where trips are asked for and rejects are looked up, and a run that is started here
        begins with them.
    signed_in : bool
        Whether visitors have to sign in.
    operators : frozenset of str
        Who of those that signed in may also add trips, start and cancel runs; all others read.
    local : bool
        Whether the server can only be reached from its own machine: then, without signing in, its user may write.
    starter : Starter
        What starts runs and reports as processes of their own.
    """

    store: Store
    settings: Settings
    signed_in: bool = False
    operators: frozenset[str] = frozenset()
    local: bool = True
    starter: Starter = field(default_factory=Starter, repr=False)
    _kept: dict[Hashable, _Kept] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def shared(self, key: Hashable, read: Callable[[], T], *, seconds: float) -> T:
        """What `read` gave within the last `seconds`, for whichever visitor; else it is called, once for all who wait.

        With 0 seconds, what began to be read after it was asked for, and has all that was written before. Blocks while
        it reads: to be called in a thread. An error is raised for those who waited, and is not kept.
        """
        asked_at = time.monotonic()
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            kept.used_at = time.monotonic()
            if len(self._kept) > _MOST:
                oldest = min((name for name in self._kept if name != key), key=lambda name: self._kept[name].used_at)
                del self._kept[oldest]
        with kept.lock:
            if kept.begun_at < asked_at and time.monotonic() - kept.read_at >= seconds:
                begun_at = time.monotonic()
                kept.value = read()
                kept.begun_at, kept.read_at = begun_at, time.monotonic()
            value: T = kept.value
            return value

    def forget(self, key: Hashable) -> None:
        """Read anew when it is next asked for: something was written."""
        with self._lock:
            self._kept.pop(key, None)

    def forget_all(self, kind: str) -> None:
        """The same of all whose key begins with `kind`."""
        with self._lock:
            for key in [key for key in self._kept if isinstance(key, tuple) and key[0] == kind]:
                del self._kept[key]

    def may_write(self, user: str | None) -> bool:
        """Whether a visitor is an operator.

        Examples
        --------
        >>> AppState(None, None).may_write(None), AppState(None, None, local=False).may_write(None)
        (True, False)
        >>> guarded = AppState(None, None, signed_in=True, operators=frozenset({"ann"}))
        >>> guarded.may_write("ann"), guarded.may_write("bob"), guarded.may_write(None)
        (True, False, False)
        """
        if self.signed_in:
            return user is not None and user in self.operators
        return self.local

    def write(self, user: str | None, what: str) -> None:
        """Say in the log who is about to write what; AccessError for who may not.

        The log writes text as `repr` does, so that what a visitor typed makes no line of its own.
        """
        allowed = self.may_write(user)
        audit_log.log(
            logging.INFO if allowed else logging.WARNING,
            "%s %s %r",
            user or LOCAL_USER,
            "did" if allowed else "was refused",
            what,
        )
        if not allowed:
            raise AccessError(
                "only operators may do this" if self.signed_in else "this app only reads, as nobody signs in to it",
                "ask whoever serves it to name you with --operator"
                if self.signed_in
                else "serve it with --auth and --operator, or on this machine only",
            )
