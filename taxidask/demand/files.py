"""A fitted demand model as files: one text per booster and a card that names them by their hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from taxidask.demand.bands import Bands
from taxidask.demand.training import Group
from taxidask.errors import ModelError, TaxidaskError
from taxidask.storage import Storage, absolute, default_storage, join

KIND = "demand"
FORMAT = 1
CARD = "card.json"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(card: dict[str, Any]) -> str:
    """The card's own hash, over everything in it but this."""
    rest = {key: value for key, value in card.items() if key != "sha256"}
    return _sha256(json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def save_model(url: str, card: dict[str, Any], groups: list[Group], *, storage: Storage | None = None) -> str:
    """Write `groups` and then the card that makes them a model; the card's URL.

    The texts are named by their content, so a reader meets the former model or the new one and never half of each.
    """
    storage, folder = storage or default_storage(), absolute(url)
    sealed = {**card, "kind": KIND, "format": FORMAT, "groups": []}
    for group in groups:
        text = group.text.encode()
        name = f"model-{group.first:04d}-{group.last:04d}-{_sha256(text)[:12]}.txt"
        storage.write(join(folder, name), text)
        sealed["groups"].append(
            {
                "first_lead": group.first,
                "last_lead": group.last,
                "rounds": group.rounds,
                "file": name,
                "sha256": _sha256(text),
                "bands": group.bands.to_dict(),
            }
        )
    sealed["sha256"] = _seal(sealed)
    where = join(folder, CARD)
    storage.write(where, json.dumps(sealed, indent=1, allow_nan=False).encode())
    named = {group["file"] for group in sealed["groups"]}
    for stat in storage.list(folder):
        name = stat.url.rsplit("/", 1)[-1]
        if name.startswith("model-") and name.endswith(".txt") and name not in named:
            storage.delete(stat.url)
    return where


def load_model(url: str, *, storage: Storage | None = None) -> tuple[dict[str, Any], list[Group]]:
    """Read and check what `save_model` wrote: kind, format, and that no byte of it has changed."""
    storage, folder = storage or default_storage(), absolute(url)
    where = join(folder, CARD)
    remedy = "save the model again, or give the folder it was saved to"
    try:
        data = storage.read(where)
    except (TaxidaskError, FileNotFoundError) as error:
        raise ModelError(f"there is no model at {folder}: {error}", remedy) from error
    try:
        card = json.loads(data)
        kind, version = card["kind"], card["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{where} is no card of a model", remedy) from error
    if kind != KIND:
        raise ModelError(f"{where} is the card of a {kind!r} model, not of a demand model", remedy)
    if version != FORMAT:
        raise ModelError(
            f"{where} is of format {version!r} and this taxidask reads format {FORMAT}",
            "fit and save the model with this version",
        )
    try:
        if card["sha256"] != _seal(card):
            raise ModelError(f"{where} was changed after it was saved", remedy)
        groups = []
        for entry in card["groups"]:
            name = str(entry["file"])
            if "/" in name or "\\" in name or not name.startswith("model-"):
                raise ModelError(f"{where} names {name!r}, which is no file of a model", remedy)
            text = storage.read(join(folder, name))
            if _sha256(text) != entry["sha256"]:
                raise ModelError(f"{join(folder, name)} was changed after it was saved", remedy)
            groups.append(
                Group(entry["first_lead"], entry["last_lead"], text.decode(), entry["rounds"], Bands(**entry["bands"]))
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where} is damaged: {error!r}", remedy) from error
    except ModelError:
        raise
    except (TaxidaskError, FileNotFoundError) as error:
        raise ModelError(f"the model at {folder} is not whole: {error}", remedy) from error
    card.pop("groups")
    return card, groups
