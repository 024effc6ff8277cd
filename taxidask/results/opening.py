"""From a store's URL to a store."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from taxidask.credentials import REMEDY, credential_in
from taxidask.errors import StorageError, StoreError
from taxidask.results.store import Store
from taxidask.settings import Region, regions_are_set, resolve
from taxidask.storage import Regions, absolute, regions_of
from taxidask.storage.regions import regions_in_use

_FORMS = "write it as sqlite:///taxidask.db, sqlite:////folder/taxidask.db, or dynamodb://table?region=us-east-1"
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_OPTIONS = {"sqlite": ("ttl_days",), "dynamodb": ("region", "endpoint", "ttl_days", "write_units")}


def open_store(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    ttl_days: float | None = None,
    regions: Regions | None = None,
) -> Store:
    """Open a store of results. This is cheap and touches nothing yet: `Store.check` does.

    Parameters
    ----------
    url : str
        ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or ``dynamodb://table``. Options may follow as
        ``?region=us-east-1&endpoint=http://…&ttl_days=90&write_units=2000``.
    endpoint, region : str, optional
        Of DynamoDB; by default as AWS's own tools choose them.
    ttl_days : float, optional
        Forget forecasts, metrics and runs so many days after their run began. None keeps them.
    regions : Regions, optional
        Where the table has replicas: a region that does not answer is stepped over. By default as the setting `regions`
        says. A store whose URL names another region or endpoint than home's stands by itself, as does SQLite.

    Examples
    --------
    >>> open_store("dynamodb://taxidask?region=us-west-2")
    DynamoDBStore('dynamodb://taxidask?region=us-west-2')
    """
    for text in (str(url), endpoint or ""):
        if told := credential_in(text):
            raise StoreError(told, REMEDY)
    scheme, separator, rest = str(url).partition("://")
    if not separator or scheme not in _OPTIONS:
        raise StoreError(f"{str(url)!r} is no store", _FORMS)
    place, _, query = rest.partition("?")
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS[scheme]:
            near = difflib.get_close_matches(name, _OPTIONS[scheme], 1) or _OPTIONS[scheme]
            raise StoreError(f"the store {url!r} has an unknown option {name!r}", f"did you mean {' or '.join(near)}?")
    for name, value in (("endpoint", endpoint), ("region", region), ("ttl_days", ttl_days)):
        if value is not None:
            if name not in _OPTIONS[scheme]:
                raise StoreError(f"{name} does not belong to the store {url!r}", "leave it out")
            options[name] = value
    for name, value in options.items():
        if not str(value).strip():
            raise StoreError(f"{name} in the store {url!r} is empty", "give it a value, or leave it out")
    for name in ("ttl_days", "write_units"):
        if name in options:
            options[name] = _number(options[name], name, str(url))
    canonical = "&".join(f"{name}={quote(_text(value), safe=':/')}" for name, value in options.items())
    suffix = f"?{canonical}" if canonical else ""
    if scheme == "sqlite":
        from taxidask.results.sqlite import SQLiteStore

        path = _sqlite_path(place, str(url))
        return SQLiteStore(path, url=f"sqlite:///{quote(str(path))}{suffix}", **options)
    from taxidask.results.dynamodb import DynamoDBStore
    from taxidask.results.explain import in_region

    table = place.rstrip("/")
    if not _TABLE.fullmatch(table):
        raise StoreError(f"{table!r} in {url!r} is no name of a table", "use 3 to 255 of letters, digits, _ . and -")
    full = f"dynamodb://{table}{suffix}"
    stays = regions is None and regions_in_use() is not None
    if regions is None:
        regions = regions_in_use() or (regions_of(resolve({})[0]) if regions_are_set() else None)
    if regions is None or not _is_home(regions.home, options):
        return DynamoDBStore(table, url=full, **options)
    from taxidask.results.regional import PATIENCE, RegionalStore

    stores = {}
    for one in regions.regions:
        here = {**options, "region": one.name, "endpoint": one.dynamodb_endpoint}
        stores[one.name] = DynamoDBStore(table, url=in_region(full, one.name), patience=PATIENCE, **here)
    return RegionalStore(stores, regions, url=full, moves=not stays)


def _is_home(home: Region, options: dict[str, Any]) -> bool:
    """Whether a table with these options is home's, and so has replicas."""
    return options.get("region", home.name) == home.name and (options.get("endpoint") in (None, home.dynamodb_endpoint))


def _number(value: Any, name: str, url: str) -> float:
    try:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreError(f"{name} in {url!r} is {value!r:.100}", "give a number") from error


def _text(value: Any) -> str:
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _sqlite_path(place: str, url: str) -> Path:
    path = unquote(place)
    if not path.startswith("/"):
        raise StoreError(
            f"{url!r} has too few slashes", f"three begin a relative path: sqlite:///{path or 'taxidask.db'}"
        )
    path = path[1:]
    if path.strip() in ("", ":memory:"):
        raise StoreError(
            f"{url!r} names no file", "a store is shared by threads and processes, so it needs a file; " + _FORMS
        )
    try:
        local = absolute(path)  # from here on: the working folder may change
        local.encode()
    except (StorageError, UnicodeEncodeError) as error:
        raise StoreError(f"{url!a}: {getattr(error, 'message', 'its name is not UTF-8')}", _FORMS) from error
    if "://" in local:
        raise StoreError(f"{url!r} names no local file", f"a store of many machines is a table; {_FORMS}")
    return Path(local)
