"""Many numbers as text that both stores keep: compressed, in parts, each naming the whole it belongs to."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from taxidask.errors import StoreError

Item = dict[str, Any]
_PART_CHARS = 200 * 1000
_AGAIN = "publish it again: taxidask run --refit"


def packed(raw: bytes) -> list[Item]:
    """Bytes as the bodies of as many items as they need, 200 KB of text in each at most."""
    text = base64.b64encode(zlib.compress(raw, 6)).decode()
    pieces = [text[i : i + _PART_CHARS] for i in range(0, len(text), _PART_CHARS)]
    digest = _digest(text)
    return [{"part": i, "parts": len(pieces), "digest": digest, "text": piece} for i, piece in enumerate(pieces)]


def unpacked(bodies: Sequence[Item], what: str, *, most: int) -> bytes:
    """The bytes back, `most` of them at most.

    Raises
    ------
    StoreError
        When parts are missing, or what they hold is not what `packed` made.
    """
    first = next((body for body in bodies if body.get("part") == 0), {})
    whole = {body.get("part"): body.get("text") for body in bodies if body.get("digest") == first.get("digest")}
    parts = first.get("parts")
    pieces = [whole.get(number) for number in range(parts if isinstance(parts, int) and parts <= len(bodies) else 0)]
    if not pieces or None in pieces:
        raise StoreError(f"{what} is only partly there", f"it is being written; read it again in a moment, or {_AGAIN}")
    if not all(isinstance(piece, str) for piece in pieces):
        raise damaged(what, "its parts are no text")
    text = "".join(map(str, pieces))
    if _digest(text) != first.get("digest"):
        raise damaged(what, "its parts do not belong together")
    try:
        unzip = zlib.decompressobj()
        raw = unzip.decompress(base64.b64decode(text, validate=True), most + 1)
    except (ValueError, zlib.error) as error:
        raise damaged(what, str(error)) from error
    if len(raw) > most or not unzip.eof:
        raise damaged(what, f"it holds more than {most:,} bytes, or is cut short")
    return raw


def damaged(what: str, why: str) -> StoreError:
    """Something in the store is not what this package writes there."""
    return StoreError(f"{what} is damaged: {why}", _AGAIN)


def interleaved(values: np.ndarray) -> bytes:
    """Numbers of four bytes, all first bytes, then all second ones and so on: like beside like takes less room."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(-1, 4).T.tobytes()


def straight(raw: bytes, kind: str) -> np.ndarray:
    """The numbers back, in one row."""
    return np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(4, -1).T).view(kind).reshape(-1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
