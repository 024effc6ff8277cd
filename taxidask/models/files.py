"""A fitted model as files: LightGBM's own texts and a card that names them by their hashes.

What is in the card is the model's own affair, but for ``kind``, ``format``, ``files`` and ``sha256``.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import Any

from taxidask.errors import ModelError, TaxidaskError
from taxidask.models.trees import check_trees
from taxidask.storage import MissingError, Storage, absolute, default_storage, join
from taxidask.words import command

FORMAT = 1
CARD = "card.json"
ROUNDS = 8  # a model is replaced once in minutes, if at all
_REMEDY = "save the model again, or give the folder it was saved to"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(card: dict[str, Any]) -> str:
    """The card's own hash, over everything in it but this."""
    rest = {key: value for key, value in card.items() if key != "sha256"}
    return _sha256(json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def save_texts(
    url: str, card: dict[str, Any], texts: dict[str, str], *, kind: str, storage: Storage | None = None
) -> str:
    """Write a model's texts and then the card that makes them a model.

    Each save has texts of its own, the card comes last, and only then do the texts go that the card before it named:
    whoever reads meets the former model or the new one, whoever else saves at the same time.

    Parameters
    ----------
    url : str
        Folder, local or s3://, that holds one model.
    card : dict
        What JSON can hold.
    texts : dict of str
        By name.
    kind : str
        "demand" or "fare": a model of one kind is not loaded as another.
    storage : Storage, optional
        The default is this process's.

    Returns
    -------
    str
        The card's URL.
    """
    storage, folder = storage or default_storage(), absolute(url)
    sealed = {**card, "kind": kind, "format": FORMAT, "files": {}}
    mark = uuid.uuid4().hex[:8]
    for name, text in texts.items():
        data = text.encode()
        digest = _sha256(data)
        file = f"model-{name}-{digest[:12]}-{mark}.txt"
        storage.write(join(folder, file), data)
        sealed["files"][name] = {"file": file, "sha256": digest}
    sealed["sha256"] = _seal(sealed)
    where = join(folder, CARD)
    data = json.dumps(sealed, indent=1, allow_nan=False).encode()
    for _ in range(ROUNDS):
        former: list[str] = []
        try:
            version = storage.stat(where).version
            former = _texts_of(storage.read(where))
            won = storage.replace(where, data, version)
        except MissingError:
            won = storage.create(where, data)
        if won:
            for file in former:
                storage.delete(join(folder, file))
            return where
    raise ModelError(f"the model at {folder} is replaced by others again and again", "save it to another folder")


def _texts_of(card: bytes) -> list[str]:
    """The texts that a card names; none if it is not one."""
    try:
        files = [entry["file"] for entry in json.loads(card)["files"].values()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
    return [file for file in files if _is_text(file)]


def _is_text(file: object) -> bool:
    """Whether a card may name such a file: one beside it."""
    return isinstance(file, str) and bool(re.fullmatch(r"model-[\w.-]+\.txt", file))


def load_texts(url: str, *, kind: str, storage: Storage | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Read and check what `save_texts` wrote: kind, format, and that no byte of it has changed.

    Parameters
    ----------
    url : str
        The folder it was saved to.
    kind : str
        What it was saved as.
    storage : Storage, optional
        The default is this process's.

    Returns
    -------
    tuple of dict
        The card and the texts by name.

    Raises
    ------
    ModelError
        When there is none, or it is not what was saved.
    """
    storage, folder = storage or default_storage(), absolute(url)
    for _ in range(ROUNDS):
        card = _card(folder, kind, storage)
        try:
            return card, _texts(folder, card.pop("files"), storage)
        except MissingError as error:
            gone = error
        if _card(folder, kind, storage)["sha256"] == card["sha256"]:
            break  # else it was replaced meanwhile
    raise ModelError(f"the model at {folder} is not whole: {gone}", _REMEDY) from gone


def _card(folder: str, kind: str, storage: Storage) -> dict[str, Any]:
    where = join(folder, CARD)
    try:
        data = storage.read(where)
    except MissingError as error:
        lake, inside, model = folder.rpartition("/models/")
        fit = command("taxidask fit", *([model] if model in ("demand", "fare") else []), lake=lake) if inside else ""
        raise ModelError(
            f"there is no model at {folder}",
            f"fit one and save it there: {fit or 'model.fit(…).save(…)'}",
        ) from error
    except TaxidaskError as error:
        raise ModelError(f"the model at {folder} cannot be read: {error}", _REMEDY) from error
    try:
        card = json.loads(data)
        saved, version = card["kind"], card["format"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{where} is no card of a model", _REMEDY) from error
    if saved != kind:
        raise ModelError(f"{where} is the card of a {saved!r} model, not of a {kind} model", _REMEDY)
    if version != FORMAT:
        raise ModelError(
            f"{where} is of format {version!r} and this taxidask reads format {FORMAT}",
            "fit and save the model with this version",
        )
    try:
        if card["sha256"] != _seal(card):
            raise ModelError(f"{where} was changed after it was saved", _REMEDY)
        for name, entry in card["files"].items():
            if not isinstance(name, str) or not isinstance(entry["sha256"], str):
                raise TypeError(name)
            if not _is_text(entry["file"]):
                raise ModelError(f"{where} names {entry['file']!r}, which is no file of a model", _REMEDY)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{where} is damaged: {error!r}", _REMEDY) from error
    return card


def _texts(folder: str, files: dict[str, Any], storage: Storage) -> dict[str, str]:
    texts = {}
    for name, entry in files.items():
        where = join(folder, entry["file"])
        try:
            data = storage.read(where)
        except MissingError:
            raise
        except TaxidaskError as error:
            raise ModelError(f"the model at {folder} cannot be read: {error}", _REMEDY) from error
        if _sha256(data) != entry["sha256"]:
            raise ModelError(f"{where} was changed after it was saved", _REMEDY)
        try:
            text = data.decode()
            check_trees(text)
        except ValueError as error:
            raise ModelError(f"{where} is no model: {error}", _REMEDY) from error
        texts[name] = text
    return texts
