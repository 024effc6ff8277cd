"""Who watches for new files: one item for each set of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taxidask.results import given, keys
from taxidask.results.keys import Key
from taxidask.results.values import plain

WATCHES = "watches"


class Watches:
    """What a store holds of watches; the rest of a store gives it items by their keys."""

    if TYPE_CHECKING:
        _query: Any
        _insert: Any
        _update: Any
        _read: Any

    def put_watch(self, watch: str, told: Mapping[str, Any], *, former: str | None = None) -> bool:
        """Note what a watch does, over what its `former` owner noted; False, with nothing changed, where another did.

        `told` has its ``owner``. With no `former` it is the first of its name.
        """
        body = plain(given.mapping_of(told, "watch"), "watch")
        key = _key(watch)
        if former is None:
            return bool(self._insert({**key._asdict(), "watch": body}))
        return bool(self._update(key, {("watch",): body}, {("watch", "owner"): former}))

    def get_watch(self, watch: str) -> dict[str, Any] | None:
        """What a watch noted last, or None."""
        item = self._read(_key(watch))
        return None if item is None else item["watch"]

    def list_watches(self) -> list[dict[str, Any]]:
        """What every watch noted last."""
        return [item["watch"] for item in self._query(WATCHES)]


def _key(watch: str) -> Key:
    return Key(WATCHES, keys.part(given.text_of(watch, "watch")))
