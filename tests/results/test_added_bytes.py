"""The bytes of an added file are those that were written, and fill no memory where the store holds something else."""

from __future__ import annotations

import base64
import tracemalloc
import zlib

import taxidask as td
from taxidask.results.added import MOST_BYTES


def test_what_unpacks_to_more_than_was_ever_written_is_not_taken(tmp_path, monkeypatch):
    store = td.open_store(f"sqlite:///{tmp_path}/store.db")

    def held(packed: bytes):
        text = base64.b85encode(packed).decode()
        monkeypatch.setattr(type(store), "_query", lambda *_, **__: iter([{"parts": 1, "text": text}]))
        return store.load_bytes("content")

    assert held(zlib.compress(b"trips")) == b"trips"
    assert held(zlib.compress(bytes(MOST_BYTES))) == bytes(MOST_BYTES)
    bomb = zlib.compress(bytes(8 * MOST_BYTES))
    tracemalloc.start()
    assert held(bomb) is None
    assert tracemalloc.get_traced_memory()[1] < 2.5 * MOST_BYTES
    tracemalloc.stop()
    assert held(zlib.compress(b"trips")[:-1]) is None
    assert held(b"trips") is None
