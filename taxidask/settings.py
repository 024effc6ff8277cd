"""One Settings object for every way in: arguments, then TAXIDASK_* variables, then taxidask.toml, then defaults."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from taxidask.errors import CubeError, SettingsError
from taxidask.progress import say
from taxidask.units import CONTENT_RANGE, parse_bytes, parse_seconds, parse_slot

PREFIX = "TAXIDASK_"
FILE = "taxidask.toml"


def _listed(value: Any) -> Any:
    """A single text as a list of one, commas and all; a list in JSON, as variables hold it, parsed. "[0-9]*.csv" is no
    JSON but the pattern of a name."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        return parsed if isinstance(parsed, list) else [value] if value else []
    if isinstance(value, os.PathLike):
        return [os.fspath(value)]
    return (
        [os.fspath(v) if isinstance(v, os.PathLike) else v for v in value]
        if isinstance(value, (list, tuple))
        else value
    )


def _texts(value: Any) -> list[str]:
    """Every text in a field's value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        value = list(value.values())
    return [text for part in value for text in _texts(part)] if isinstance(value, (list, tuple)) else []


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else value


class Region(BaseModel):
    """One AWS region: its copy of the lake, if that is not the lake itself; its endpoints, if not AWS's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    lake: str | None = None
    s3_endpoint: str | None = None
    dynamodb_endpoint: str | None = None


class Prices(BaseModel):
    """USD prices that cost estimates use.

    Defaults are AWS's public list prices for us-east-1: an m6i vCPU hour on demand, DynamoDB on-demand writes and
    S3 Standard requests. They change; set your own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vcpu_hour: float = 0.048
    million_writes: float = 0.625
    thousand_puts: float = 0.005
    thousand_gets: float = 0.0004


class Settings(BaseModel):
    """What a run is told. Every field is a ``--field-name`` option of ``taxidask run``.

    Build it with :func:`load_settings`, which also looks at ``TAXIDASK_*`` variables and ``taxidask.toml``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    sources: Annotated[list[str], BeforeValidator(_listed)] = Field(
        default=[],
        description="CSV or Parquet files of trips: paths, folders, globs or s3:// URLs; several in a variable: JSON.",
    )
    lake: str = Field(default="lake", description="Folder or s3:// URL of the lake.")
    store: str = Field(
        default="sqlite:///taxidask.db", description="Where results are published: sqlite:///FILE or dynamodb://TABLE."
    )
    report: str = Field(default="report.pdf", description="The PDF report's path, or its s3:// URL.")
    compute: str = Field(default="local", description="local, tcp://HOST:PORT, tls://HOST:PORT or kubernetes.")
    workers: int | None = Field(default=None, ge=1, description="Worker processes (default: as the machine allows).")
    worker_memory: str | None = Field(default=None, description="Memory limit of one worker, e.g. 4GiB.")
    worker_cpus: float = Field(default=1.0, gt=0, le=256, description="Cores of one worker pod on Kubernetes.")
    block_size: str = Field(default="64MiB", description="Bytes of a source that one task reads; a multiple of 8MiB.")
    space: str = Field(
        default="auto",
        description="new_york (a grid of 24 x 25 cells), zones (the TLC's 263), the URL of zones as GeoJSON, or auto: "
        "the lake's own; a new lake gets zones as soon as one of its sources names zones, else the grid.",
    )
    slot: str = Field(default="30min", description="Length of a time slot.")
    horizon: int = Field(default=48, ge=1, le=10_000, description="Slots to forecast.")
    heartbeat_timeout: float = Field(
        default=60.0, gt=0, description="Seconds after which a silent driver counts as dead."
    )
    namespace: str = Field(default="taxidask", description="Kubernetes namespace.")
    image: str | None = Field(default=None, description="Container image of scheduler and workers, with its tag.")
    scheduler_cpus: float = Field(default=0.5, gt=0, le=256, description="Cores of the scheduler's pod on Kubernetes.")
    scheduler_memory: str = Field(default="2GiB", description="Memory of the scheduler's pod on Kubernetes.")
    cluster_name: str | None = Field(default=None, description="Name of the Kubernetes cluster of workers.")
    idle_timeout: str = Field(default="20min", description="A cluster without work for this long shuts down.")
    max_duration_hours: float = Field(default=24.0, gt=0, description="Row rule: a longer trip is rejected, hours.")
    max_distance_miles: float = Field(default=100.0, gt=0, description="Row rule: a longer trip is rejected, miles.")
    max_fare: float = Field(default=500.0, gt=0, description="Row rule: a higher fare is rejected, USD.")
    min_passengers: int = Field(default=1, ge=0, description="Row rule: fewer passengers are rejected.")
    max_passengers: int = Field(default=9, ge=1, description="Row rule: more passengers are rejected.")
    west: float = Field(default=-74.3, description="Row rule: western edge of the city, degrees.")
    east: float = Field(default=-73.7, description="Row rule: eastern edge of the city, degrees.")
    south: float = Field(default=40.5, description="Row rule: southern edge of the city, degrees.")
    north: float = Field(default=41.0, description="Row rule: northern edge of the city, degrees.")
    prices: Annotated[Prices, BeforeValidator(_json)] = Field(
        default=Prices(), description="USD prices of cost estimates."
    )
    regions: Annotated[list[Region], BeforeValidator(_json)] = Field(
        default=[], description="AWS regions that doctor tries, home first."
    )

    @field_validator("*")
    @classmethod
    def _not_empty(cls, value: Any, info: ValidationInfo) -> Any:
        # "" is a path too: that of the current folder
        if any(not text.strip() for text in _texts(value)):
            raise SettingsError(f"{info.field_name} is empty", "give it a value, or leave it out")
        return value

    @field_validator("block_size")
    @classmethod
    def _block_size(cls, value: str) -> str:
        size = parse_bytes(value)
        if size < CONTENT_RANGE or size % CONTENT_RANGE:
            raise SettingsError(f"block_size {value!r} is no multiple of 8MiB", "use 8MiB, 16MiB, … 64MiB, 128MiB")
        return value

    @field_validator("worker_memory", "scheduler_memory")
    @classmethod
    def _worker_memory(cls, value: str | None) -> str | None:
        if value is not None:
            parse_bytes(value)
        return value

    @field_validator("idle_timeout")
    @classmethod
    def _idle_timeout(cls, value: str) -> str:
        parse_seconds(value)
        return value

    @field_validator("slot")
    @classmethod
    def _slot(cls, value: str) -> str:
        try:
            parse_slot(value)
        except CubeError as error:
            raise SettingsError(f"slot: {error.message}", error.remedy) from error
        return value

    @field_validator("compute")
    @classmethod
    def _compute(cls, value: str) -> str:
        if value not in ("local", "kubernetes") and not value.startswith(("tcp://", "tls://")):
            raise SettingsError(
                f"compute {value!r} is not known", "use local, tcp://HOST:PORT, tls://HOST:PORT or kubernetes"
            )
        return value

    @field_validator("lake", "store", "report", "sources", "compute", "space", "regions")
    @classmethod
    def _no_secret(cls, value: Any) -> Any:
        for url in _texts(value):
            # also in an option of a URL, as ?endpoint=http://name:password@host
            if found := re.search(r"(\w+)://[^/@\s]*:[^@\s]*@", url):
                raise SettingsError(
                    f"the URL {found[1]}://…@{url[found.end() :].rsplit('@', 1)[-1]} holds a password",
                    "settings are kept with each run: leave credentials to the AWS chain (environment, profile, role)",
                )
        return value

    @model_validator(mode="after")
    def _edges(self) -> Settings:
        if not (self.west < self.east and self.south < self.north):
            raise SettingsError(
                f"the city's edges are the wrong way round: west {self.west}, east {self.east}, "
                f"south {self.south}, north {self.north}",
                "west must be less than east and south less than north, in degrees",
            )
        return self


def _names() -> list[str]:
    return list(Settings.model_fields)


def _unknown(name: str, where: str, known: list[str]) -> SettingsError:
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return SettingsError(
        f"{name!r} in {where} is no setting",
        f"did you mean {near[0]!r}?" if near else f"settings are: {', '.join(known)}",
    )


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML file: {error}") from error
    for name in values:
        if name not in Settings.model_fields:
            raise _unknown(name, str(path), _names())
    return values


def _from_environment(environment: dict[str, str]) -> dict[str, str]:
    names = [PREFIX + name.upper() for name in _names()]
    values = {}
    for key, value in environment.items():
        if key in names:
            if value.strip():  # an empty one is how the shell unsets it for one command
                values[key.removeprefix(PREFIX).lower()] = value
        # Kubernetes sets variables of its own for a Service called taxidask-…: only a near miss is a mistake
        elif key.startswith(PREFIX) and difflib.get_close_matches(key, names, 1, cutoff=0.9):
            raise _unknown(key, "the environment", names)
    return values


def resolve(overrides: dict[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Settings, and for each field the place its value came from."""
    for name in overrides:
        if name not in Settings.model_fields:
            raise _unknown(name, "the arguments", _names())
    path = Path(FILE)
    layers = [
        ("argument", {k: v for k, v in overrides.items() if v is not None}),
        ("environment", _from_environment(dict(os.environ))),
        (FILE, _from_file(path)),
    ]
    values: dict[str, Any] = {}
    origin = dict.fromkeys(Settings.model_fields, "default")
    for where, layer in reversed(layers):
        for name, value in layer.items():
            values[name] = value
            origin[name] = f"{PREFIX}{name.upper()}" if where == "environment" else where
    try:
        checked = Settings(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        place = origin.get(name, "the arguments")
        raise SettingsError(
            f"{'.'.join(map(str, first['loc']))} from {place} is {first['input']!r}: {first['msg']}",
            f"see the field's description: {Settings.model_fields[name].description}" if name in origin else None,
        ) from None
    # what lies around a call does not count as given by it
    given = {name for name, where in origin.items() if where == "argument"}
    return Settings.model_construct(given, **dict(checked)), origin


def load_settings(**overrides: Any) -> Settings:
    """Settings from arguments, ``TAXIDASK_*`` variables, ``taxidask.toml`` and defaults, in this order.

    Prints, to standard error, where each value came from.

    Parameters
    ----------
    **overrides
        Any field of :class:`Settings`; ``None`` means not given.

    Raises
    ------
    SettingsError
        For an unknown name (with its neighbour), or a value that does not fit (with where it came from).
    """
    settings, origin = resolve(overrides)
    width = max(map(len, origin))
    for name, where in origin.items():
        value = getattr(settings, name)
        say(f"{name:<{width}}  {where:<{12}}  {value}")
    return settings
