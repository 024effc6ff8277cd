"""One Settings object for every way in: arguments, then TAXIDASK_* variables, then taxidask.toml, then defaults."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ModelWrapValidatorHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from taxidask.counterparts import mismatch
from taxidask.credentials import REMEDY, credential_in
from taxidask.errors import SettingsError, TaxidaskError
from taxidask.progress import say
from taxidask.units import CONTENT_RANGE, parse_bytes, parse_seconds, parse_slot

PREFIX = "TAXIDASK_"
FILE = "taxidask.toml"


def _listed(value: Any) -> Any:
    """A single text as a list of one, commas and all; a list in JSON, as variables hold it, parsed. "[0-9]*.csv" is no
    JSON but the pattern of a name."""
    if isinstance(value, (list, tuple)) and len(value) == 1 and str(value[0]).startswith("["):
        value = value[0]  # as an option gives it
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
        value = [*value, *value.values()]
    return [text for part in value for text in _texts(part)] if isinstance(value, (list, tuple)) else []


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else value


def _seconds(value: Any) -> Any:
    return parse_seconds(value) if isinstance(value, str) else value


def _bucket_url(value: str) -> str:
    if not value.startswith("s3://") or not value.removeprefix("s3://").strip("/"):
        raise _refused(f"{value!r} is no place in S3", "give a bucket, or a prefix in one, like s3://bucket/lake")
    return value.rstrip("/")


def _endpoint(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise _refused(f"{value!r} is no address of a service", "write it as http://host:port or https://host")
    return value


def _told(error: pydantic.ValidationError, origin: dict[str, str]) -> SettingsError:
    """The first thing wrong, with its setting and where that came from; it has the others by name."""
    wrong = [(str(one["loc"][0]) if one["loc"] else "", _one(one, origin)) for one in error.errors()]
    first = wrong[0][1]
    for name, told in wrong:
        first.fields.setdefault(name, told)
    return first


def _one(first: Any, origin: dict[str, str]) -> SettingsError:
    name = str(first["loc"][0]) if first["loc"] else ""
    said = first.get("ctx", {}) if first["type"] == _OURS else {}
    if said:
        place = f" (from {origin[name]})" if name in origin else ""
        prefix = f"{name}: " if name and not said["message"].startswith(name) else ""
        return SettingsError(f"{prefix}{said['message']}{place}", said["remedy"])
    field = Settings.model_fields.get(name)
    place = f" from {origin[name]}" if name in origin else ""
    value = first["input"]
    # what is made of several values, or was put where none belongs, may hold anything
    apart = (
        first["type"] == "extra_forbidden" or not isinstance(value, (str, int, float)) or str(value)[:1] in ("[", "{")
    )
    return SettingsError(
        f"{'.'.join(map(str, first['loc']))}{place}{'' if apart else f' is {value!r}'}: {first['msg']}",
        f"see the field's description: {field.description}" if field else None,
    )


def _refused(message: str, remedy: str | None) -> PydanticCustomError:
    return PydanticCustomError(_OURS, "{message}", {"message": message, "remedy": remedy})


_OURS = "taxidask"
_LEAST_MEMORY, _MOST_MEMORY = 64 << 20, 64 << 40  # a worker starts in no less, no machine has more
_LARGEST_BLOCK = 16 << 30
_LONGEST_IDLE = 366 * 86_400
_BARE = ("auto", "new_york", "zones")
_Price = Annotated[FiniteFloat, Field(ge=0)]
_Place = Annotated[str, AfterValidator(_bucket_url)]
_Endpoint = Annotated[str, AfterValidator(_endpoint)]
_Longitude = Annotated[FiniteFloat, Field(ge=-180, le=180)]
_Latitude = Annotated[FiniteFloat, Field(ge=-90, le=90)]


class Region(BaseModel):
    """One AWS region: where its copies of home's URLs lie; its endpoints, if not AWS's own.

    `places` gives beginnings of home's URLs what they are in this region; `lake` does so for the lake alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    lake: str | None = None
    places: dict[_Place, _Place] = {}
    s3_endpoint: _Endpoint | None = None
    dynamodb_endpoint: _Endpoint | None = None


class Prices(BaseModel):
    """USD prices that cost estimates use.

    Defaults are AWS's public list prices for us-east-1: an m6i vCPU hour on demand, DynamoDB on-demand writes and
    S3 Standard requests. They change; set your own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vcpu_hour: _Price = 0.048
    million_writes: _Price = 0.625
    thousand_puts: _Price = 0.005
    thousand_gets: _Price = 0.0004


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
    workers: int | None = Field(
        default=None, ge=1, le=10_000, description="Worker processes (default: as the machine allows)."
    )
    worker_memory: str | None = Field(default=None, description="Memory limit of one worker, e.g. 4GiB.")
    worker_cpus: float = Field(default=1.0, ge=0.01, le=256, description="Cores of one worker pod on Kubernetes.")
    block_size: str = Field(default="64MiB", description="Bytes of a source that one task reads; a multiple of 8MiB.")
    space: str = Field(
        default="auto",
        description="new_york (a grid of 24 x 25 cells), zones (the TLC's 263), the URL of zones as GeoJSON, or auto: "
        "the lake's own; a new lake gets zones as soon as one of its sources names zones, else the grid.",
    )
    slot: str = Field(default="30min", description="Length of a time slot.")
    horizon: int = Field(default=48, ge=1, le=10_000, description="Slots to forecast.")
    heartbeat_timeout: Annotated[float, BeforeValidator(_seconds)] = Field(
        default=60.0, ge=1, le=86_400, description="Seconds after which a silent driver counts as dead."
    )
    namespace: str = Field(default="taxidask", description="Kubernetes namespace.")
    image: str | None = Field(default=None, description="Container image of scheduler and workers, with its tag.")
    scheduler_cpus: float = Field(
        default=0.5, ge=0.01, le=256, description="Cores of the scheduler's pod on Kubernetes."
    )
    scheduler_memory: str = Field(default="2GiB", description="Memory of the scheduler's pod on Kubernetes.")
    cluster_name: str | None = Field(default=None, description="Name of the Kubernetes cluster of workers.")
    idle_timeout: str = Field(default="20min", description="A cluster without work for this long shuts down.")
    max_duration_hours: FiniteFloat = Field(
        default=24.0, gt=0, description="Row rule: a longer trip is rejected, hours."
    )
    max_distance_miles: FiniteFloat = Field(
        default=100.0, gt=0, description="Row rule: a longer trip is rejected, miles."
    )
    max_fare: FiniteFloat = Field(default=500.0, gt=0, description="Row rule: a higher fare is rejected, USD.")
    min_passengers: int = Field(default=1, ge=0, le=255, description="Row rule: fewer passengers are rejected.")
    max_passengers: int = Field(default=9, ge=1, le=255, description="Row rule: more passengers are rejected.")
    west: _Longitude = Field(default=-74.3, description="Row rule: western edge of the city, degrees.")
    east: _Longitude = Field(default=-73.7, description="Row rule: eastern edge of the city, degrees.")
    south: _Latitude = Field(default=40.5, description="Row rule: southern edge of the city, degrees.")
    north: _Latitude = Field(default=41.0, description="Row rule: northern edge of the city, degrees.")
    unpack_ratio: FiniteFloat = Field(
        default=200.0, ge=1, description="A packed file that becomes more than so many times its bytes is refused, if"
        " it also becomes more than unpack_size.",
    )  # fmt: skip
    unpack_size: str = Field(default="1GiB", description="What any packed file may unpack to.")
    prices: Annotated[Prices, BeforeValidator(_json)] = Field(
        default=Prices(), description="USD prices of cost estimates."
    )
    regions: Annotated[list[Region], BeforeValidator(_json)] = Field(
        default=[],
        description="AWS regions, home first: each its name, places ({home's URL: its URL}) or lake, and endpoints.",
    )
    active_region: str | None = Field(default=None, description="Region that is written to (default: home).")
    queue: str | None = Field(
        default=None, pattern=r"^https?://[^\s/?#]+(/[^\s/?#]+)+$",
        description="SQS queue of S3 events, for taxidask watch: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME.",
    )  # fmt: skip

    @field_validator("*")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        # "" is a path too: that of the current folder
        if any(not text.strip() for text in _texts(value)):
            raise SettingsError("it is empty", "give it a value, or leave it out")
        return value

    @field_validator("block_size")
    @classmethod
    def _block_size(cls, value: str) -> str:
        size = parse_bytes(value)
        if size < CONTENT_RANGE or size % CONTENT_RANGE:
            raise SettingsError(f"{value!r} is no multiple of 8MiB", "use 8MiB, 16MiB, … 64MiB, 128MiB")
        if size > _LARGEST_BLOCK:
            raise SettingsError(f"{value!r} is more than one task can read", "use 16GiB at most; 64MiB suits most")
        return value

    @field_validator("worker_memory", "scheduler_memory")
    @classmethod
    def _memory(cls, value: str | None) -> str | None:
        if value is not None and not _LEAST_MEMORY <= parse_bytes(value) <= _MOST_MEMORY:
            raise SettingsError(f"no process runs in {value!r} of memory", "give 64MiB to 64TiB, e.g. 4GiB")
        return value

    @field_validator("idle_timeout")
    @classmethod
    def _idle_timeout(cls, value: str) -> str:
        if not 1 <= parse_seconds(value) <= _LONGEST_IDLE:
            raise SettingsError(f"{value!r} is not between a second and a year", "give minutes or hours, e.g. 20min")
        return value

    @field_validator("slot", "unpack_size")
    @classmethod
    def _parsed(cls, value: str, info: ValidationInfo) -> str:
        (parse_slot if info.field_name == "slot" else parse_bytes)(value)
        return value

    @field_validator("regions")
    @classmethod
    def _regions(cls, value: list[Region]) -> list[Region]:
        names = [region.name for region in value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise SettingsError(f"there are two regions called {twice[0]!r}", "give each its own name")
        if value and value[0].places:
            raise SettingsError(
                f"{names[0]!r} is home, and has places", "give the others places: what home's URLs are called there"
            )
        return value

    @field_validator("space")
    @classmethod
    def _space(cls, value: str) -> str:
        # a bare word that names no file is a name misspelt
        if value not in _BARE and not re.search(r"[./\\]", value) and not Path(value).exists():
            near = difflib.get_close_matches(value.lower(), _BARE, 1)
            raise SettingsError(
                f"there is no space and no file called {value!r}",
                (f"did you mean {near[0]!r}? " if near else "")
                + f"use {', '.join(_BARE)}, or the path or URL of zones as GeoJSON",
            )
        return value

    @field_validator("compute")
    @classmethod
    def _compute(cls, value: str) -> str:
        if value not in ("local", "kubernetes") and not value.startswith(("tcp://", "tls://")):
            raise SettingsError(
                f"compute {value!r} is not known", "use local, tcp://HOST:PORT, tls://HOST:PORT or kubernetes"
            )
        return value

    @field_validator("*")
    @classmethod
    def _no_secret(cls, value: Any) -> Any:
        for told in filter(None, map(credential_in, _texts(value))):
            raise SettingsError(told, REMEDY)
        return value

    @field_validator("*", mode="wrap")
    @classmethod
    def _named(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, bool):  # which would pass as 1
            raise _refused(f"{value!r} is no value of this setting", "give a number or a text")
        try:
            return handler(value)
        except TaxidaskError as error:
            raise _refused(error.message, error.remedy) from None

    @model_validator(mode="after")
    def _edges(self, info: ValidationInfo) -> Settings:
        def given(name: str) -> str:
            place = (info.context or {}).get(name)
            return f"{name} {getattr(self, name)}" + (f" (from {place})" if place else "")

        if not (self.west < self.east and self.south < self.north):
            edges = ", ".join(map(given, ("west", "east", "south", "north")))
            raise _refused(
                f"the city's edges are the wrong way round: {edges}",
                "west must be less than east and south less than north, in degrees",
            )
        if self.min_passengers > self.max_passengers:
            raise _refused(
                f"no number of passengers is kept: {given('min_passengers')} is above {given('max_passengers')}",
                "min_passengers must be at most max_passengers",
            )
        if wrong := mismatch(self.regions, lake=self.lake, active=self.active_region):
            raise _refused(f"regions: {wrong[0]}", wrong[1])
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        try:
            return handler(values)
        except pydantic.ValidationError as error:
            raise _told(error, info.context or {}) from None


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
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin with a mark
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


def regions_are_set() -> bool:
    """Whether a variable or the file may name regions; the other settings are not looked at."""
    if os.environ.get(f"{PREFIX}REGIONS", "").strip():
        return True
    try:
        return b"regions" in Path(FILE).read_bytes()
    except OSError:
        return False


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
    checked = Settings.model_validate(values, context=origin)
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
