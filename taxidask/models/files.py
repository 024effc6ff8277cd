"""A fitted model as files: LightGBM's own texts and a card that names them by their hashes.

What is in the card is the model's own affair, but for ``kind``, ``format``, ``files`` and ``sha256``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from taxidask.errors import ModelError, TaxidaskError
from taxidask.storage import MissingError, Storage, absolute, default_storage, join
from taxidask.words import command

FORMAT = 1
CARD = "card.json"
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

    Texts are named by their content and the card comes last: whoever reads meets the former model or the new one.

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
    for name, text in texts.items():
        data = text.encode()
        digest = _sha256(data)
        file = f"model-{name}-{digest[:12]}.txt"
        storage.write(join(folder, file), data)
        sealed["files"][name] = {"file": file, "sha256": digest}
    sealed["sha256"] = _seal(sealed)
    where = join(folder, CARD)
    storage.write(where, json.dumps(sealed, indent=1, allow_nan=False).encode())
    named = {entry["file"] for entry in sealed["files"].values()}
    for stat in storage.list(folder):
        name = stat.url.rsplit("/", 1)[-1]
        if name.startswith("model-") and name.endswith(".txt") and name not in named:
            storage.delete(stat.url)
    return where


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
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{where} is no card of a model", _REMEDY) from error
    if saved != kind:
        raise ModelError(f"{where} is the card of a {saved!r} model, not of a {kind} model", _REMEDY)
    if version != FORMAT:
        raise ModelError(
            f"{where} is of format {version!r} and this taxidask reads format {FORMAT}",
            "fit and save the model with this version",
        )
    texts = {}
    try:
        if card["sha256"] != _seal(card):
            raise ModelError(f"{where} was changed after it was saved", _REMEDY)
        for name, entry in card["files"].items():
            file = str(entry["file"])
            if "/" in file or "\\" in file or not file.startswith("model-"):
                raise ModelError(f"{where} names {file!r}, which is no file of a model", _REMEDY)
            text = storage.read(join(folder, file))
            if _sha256(text) != entry["sha256"]:
                raise ModelError(f"{join(folder, file)} was changed after it was saved", _REMEDY)
            texts[name] = text.decode()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{where} is damaged: {error!r}", _REMEDY) from error
    except ModelError:
        raise
    except (TaxidaskError, FileNotFoundError) as error:
        raise ModelError(f"the model at {folder} is not whole: {error}", _REMEDY) from error
    card.pop("files")
    return card, texts
