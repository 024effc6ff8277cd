"""What every command shares: options, exit codes, and how results are printed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import taxidask
from taxidask.errors import SettingsError, StorageError
from taxidask.progress import say
from taxidask.settings import Settings, resolve
from taxidask.storage import absolute, default_storage
from taxidask.words import command, escaped

DONE, FAILED, WRONG_USE, LEFT_OUT, INTERRUPTED = 0, 1, 2, 3, 130

app = App(
    name="taxidask",
    version=taxidask.__version__,
    help=taxidask.__doc__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
runs_app = App(name="runs", help="List, show, resume and cancel runs.")
lake_app = App(name="lake", help="What a lake was made of: list its sources, take one out, check and tidy it.")
trips_app = App(name="trips", help="Ask for trips, and add some.")
store_app = App(name="store", help="Create and check the store that results are published to.")
cluster_app = App(name="cluster", help="Start, look at and stop clusters of worker pods on Kubernetes.")
for _sub in (runs_app, lake_app, trips_app, store_app, cluster_app):
    app.command(_sub)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]
Lake = Annotated[str | None, Parameter(help="Folder or s3:// URL of the lake [settings: lake].")]
Store = Annotated[str | None, Parameter(help="sqlite:///FILE or dynamodb://TABLE [settings: store].")]


def _folder(_: Any, tokens: Any) -> Path:
    text = tokens[0].value
    if not text.strip():
        raise SettingsError("the folder is empty", "name one, or . for the current folder")
    try:
        local = absolute(text)
    except StorageError as error:
        raise SettingsError(error.message, error.remedy) from error
    if "://" in local:
        raise SettingsError(f"{text} is not a local folder", "give one, then copy what it holds there")
    return Path(local if "://" in text else text)


Folder = Annotated[Path, Parameter(converter=_folder)]


def with_settings(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command one option per settings field; they arrive as keyword arguments, None where not given."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = []
    for name, field in Settings.model_fields.items():
        many = name == "sources"
        default = "" if field.default in (None, []) else f" [{field.default}]"
        help_ = Parameter(
            help=f"{field.description}{default}", consume_multiple=many, negative="", allow_leading_hyphen=not many
        )
        annotation: Any = Annotated[list[str] | None if many else str | None, help_]
        options.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    function.__signature__ = inspect.Signature(own + options)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in own + options}
    return function


def settings_of(**overrides: Any) -> Settings:
    return resolve(overrides)[0]


def again(line: str, given: dict[str, Any], *places: str, resume: str | None = None) -> str:
    """The line that gives a command of `with_settings` again, in whichever folder; it always names these `places`."""
    from taxidask.runs.ledger import placed

    settings, origin = resolve(given)
    settings = placed(settings)
    named = {name for name, place in origin.items() if place == "argument"} | set(places)
    options = {
        name: getattr(settings, name) if name in (*places, "space", "report") else given[name]
        for name in origin
        if name in named and name != "sources"
    }
    return command(line, *settings.sources, **options, resume=resume)


def store_of(url: str | None) -> Any:
    store = taxidask.open_store(settings_of(store=url).store)
    store.check()
    return store


def finish(run: taxidask.Run, as_json: bool) -> int:
    if as_json:
        print(dumps({name: getattr(run, name) for name in run.__dataclass_fields__}))
        for item in run.left_out:
            say(f"left out: {item}")
    else:
        output(run)
    return LEFT_OUT if run.left_out else DONE


def table(frame: Any, as_json: bool, out: str | None = None) -> int:
    if out is not None:
        with default_storage().writing(absolute(out)) as file:
            if out.lower().endswith(".parquet"):
                frame.to_parquet(file, index=False)
            else:
                frame.to_csv(file, index=False, mode="wb")
        say(f"{len(frame)} rows written to {out}")
    elif as_json:
        print(frame.to_json(orient="records", date_format="iso"))
    elif len(frame):
        output(frame.to_string(index=False))
    else:
        say("no rows")
    return DONE


def dumps(value: Any) -> str:
    return json.dumps(value, default=str)


def output(result: Any) -> None:
    """Print a result for a person, whatever the names in it hold."""
    print(escaped(str(result), lines=True))


def check_out(out: str | None, option: str = "--out") -> None:
    """Refuse a place or a kind of file that is not written, before the work that would go into it."""
    if out is None:
        return
    try:
        url = absolute(out)
    except StorageError as error:
        raise SettingsError(f"{option} {error.message}", error.remedy) from error
    if url.startswith("s3://") and url.count("/") < 3:
        raise SettingsError(f"{option} {out} names a bucket and no file in it", "write s3://bucket/key.csv")
    if url.startswith("memory://"):
        raise SettingsError(f"{option} {out} ends with this command", "give a path or an s3:// URL")
    if not url.lower().endswith((".csv", ".parquet")):
        raise SettingsError(f"{option} {out} is neither .csv nor .parquet", "name a file that ends in one of them")
