"""The command as scripts and people use it: output, exit codes, errors."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

import taxidask as td
from taxidask.cli import main
from taxidask.cli.command import app
from taxidask.compute.executors import ThreadExecutor
from taxidask.lake.ingest import Driver
from taxidask.storage import default_storage
from taxidask.trips.outcome import SourceIngest
from taxidask.trips.schema import REASONS


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (file,) = td.make_sample(str(folder), start="2015-03", trips_per_month=2_000, seed=5)
    return Path(file)


def commands(branch: object = app, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name in branch:  # type: ignore[attr-defined]
        if not name.startswith("-"):
            below = commands(branch[name], (*path, name))  # type: ignore[index]
            found += below or [(*path, name)]
    return found


def test_the_commands_of_the_design_are_there() -> None:
    names = {" ".join(path) for path in commands()}
    assert names >= {
        *("demo", "run", "sample", "ingest", "fit", "forecast", "quote", "trips query", "report", "app"),
        *("runs list", "runs show", "runs resume", "runs cancel", "store create", "doctor"),
        *("cluster up", "cluster status", "cluster down"),
    }


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*path, "--help") == 0
    out = capsys.readouterr().out
    assert "Example:" in out
    assert f"taxidask {' '.join(path)}" in out


def test_every_setting_is_an_option_of_run() -> None:
    console = Console(file=io.StringIO(), width=120)  # narrow terminals cut long names
    app.help_print(["run"], console=console)
    out = console.file.getvalue()
    for name in td.Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in out


def test_wrong_use_is_2_and_says_what(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--horizn", "3") == 2
    assert "--horizon" in capsys.readouterr().err
    assert call("run", "--horizon", "soon") == 2
    assert "horizon from argument is 'soon'" in capsys.readouterr().err
    assert call("runn") == 2
    assert call("ingest", "a.csv", "--space", "Zones") == 2
    assert "did you mean 'zones'" in capsys.readouterr().err
    assert call("run", "--sources", str(sample), "--space", "missing.geojson") == 2
    assert "no file called" in capsys.readouterr().err
    assert not list(Path().iterdir())
    assert call("ingest", "a.csv", "--worker-memory", "1B") == 2
    assert "worker_memory" in capsys.readouterr().err


def test_numbers_that_cannot_be_meant_are_wrong_use_and_make_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("runs", "list", "--limit", "0"),
        ("runs", "list", "--limit", "-1"),
        ("demo", "d", "--trips", "0"),
    ):
        assert call(*arguments) == 2, arguments
        assert "give a whole number from 1" in capsys.readouterr().err
    assert call("lake", "check", "--sample", "0") == 2
    assert "sample is 0; give a number of parts, 1 or more" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_an_empty_option_is_wrong_use_and_makes_nothing(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("ingest", str(sample), "--lake", ""),
        ("ingest", str(sample), "--space", " "),
        ("ingest", ""),
        ("run", "--sources", str(sample), "--report", ""),
        ("fit", "--lake", ""),
        ("trips", "query", "--lake", ""),
        ("trips", "query", "--out", ""),
        ("report", "--out", ""),
        ("runs", "list", "--store", ""),
        ("demo", ""),
        ("sample", "", "--start", "2015-03"),
    ):
        assert call(*arguments) == 2, arguments
        assert "error" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_sample_ingest_query(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sample", "trips", "--start", "2015-03", "--trips-per-month", "3000", "--json") == 0
    (file,) = json.loads(capsys.readouterr().out)
    assert call("ingest", file, "--json") == 0
    (source,) = json.loads(capsys.readouterr().out)
    assert source["kept"] + source["rejected"] == source["rows"] == 3000
    assert call("trips", "query", "--where", "fare_amount > 20", "--limit", "5", "--json") == 0
    trips = json.loads(capsys.readouterr().out)
    assert len(trips) == 5
    assert all(trip["fare_amount"] > 20 for trip in trips)
    assert call("trips", "query", "--where", "fare_amont > 20") == 2
    assert "fare_amount" in capsys.readouterr().err
    assert (
        call("trips", "query", "--start", "2015-03-02", "--end", "2015-03-03", "--limit", "0", "--out", "day.csv") == 0
    )
    assert Path("day.csv").read_text().count("\n") > 50


def bad_files(sample: Path, folder: Path) -> dict[str, str]:
    """File name → a word of the message that says what is wrong with it."""
    (folder / "empty.csv").write_bytes(b"")
    (folder / "page.csv").write_text("<!DOCTYPE html><html><body>Access denied</body></html>")
    (folder / "cut.csv.gz").write_bytes(gzip.compress(sample.read_bytes())[:-2000])
    (folder / "folder.csv").mkdir()
    (folder / "other.csv").write_text("name,colour\nx,red\n")
    return {
        "missing.csv": "missing.csv",
        "empty.csv": "empty",
        "page.csv": "HTML",
        "cut.csv.gz": "cut.csv.gz",
        "folder.csv": "folder.csv",
        "other.csv": "name,colour",
    }


def test_bad_input_is_named_and_loses_nothing(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("ingest", str(sample)) == 0
    before = td.Lake("lake").trips()
    capsys.readouterr()
    for name, word in bad_files(sample, tmp_path).items():
        assert call("ingest", name) == 1, name
        said = capsys.readouterr().err
        assert "error:" in said, name
        assert word in said, (name, said)
        assert "Traceback" not in said
    assert td.Lake("lake").trips().equals(before)
    assert len(td.Lake("lake").sources()) == 1


def test_s3_without_credentials_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    assert call("ingest", "s3://some-bucket/yellow_tripdata_2015-01.csv") == 1
    assert "credentials" in capsys.readouterr().err


def test_the_second_name_of_the_same_content_is_left_out_by_name(
    sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(sample, "copy_2015-03.csv")
    assert call("ingest", str(sample), "copy_2015-03.csv") == 3
    said = capsys.readouterr().err
    assert "left out:" in said
    assert len(td.Lake("lake").trips()) < 2_000


def test_the_app_is_told_where_else_it_is_reached_and_who_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("taxidask.app.serve", lambda **options: told.append(options))
    assert call("app", "--store", "sqlite:///a.db", "--lake", "mine") == 0
    given = told[0].pop("settings")
    assert (given.store, given.lake) == ("sqlite:///a.db", "mine")
    access = {"auth": None, "users": None, "operators": []}
    assert told.pop() == {"port": 5006, "address": "127.0.0.1", "allow_origins": [], **access}
    origins = ("--allow-origin", "taxi.example:443", "--allow-origin", "10.0.0.5:80")
    signed = ("--auth", "basic", "--users", "users.json", "--operator", "ann", "--operator", "bob")
    assert call("app", "--port", "6000", *origins, *signed) == 0
    del told[0]["settings"]
    assert told[0] == {
        "port": 6000,
        "address": "127.0.0.1",
        "allow_origins": ["taxi.example:443", "10.0.0.5:80"],
        "auth": "basic",
        "users": "users.json",
        "operators": ["ann", "bob"],
    }


def test_the_report_may_be_written_to_a_url(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("taxidask.report.build", lambda **given: given["out"])
    assert call("store", "create", "--store", "sqlite:///a.db") == 0
    assert call("report", "--store", "sqlite:///a.db", "--out", "s3://bucket/out/report.pdf") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "s3://bucket/out/report.pdf"


def test_runs_of_an_empty_store(capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("is made", "was there already"):
        assert call("store", "create") == 0
        assert f"taxidask.db {said} (" in capsys.readouterr().out
    assert call("runs", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == []
    for asked in (("show", "x"), ("show", "last"), ("resume", "last"), ("cancel", "last")):
        assert call("runs", *asked) == 1
        assert "holds no run yet" in capsys.readouterr().err


def test_a_quote_between_places_by_name_id_or_point(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    td.FareModel(rounds=5, num_threads=1).fit(td.read_trips(sample)[0]).save("lake/models/fare")
    when = ("--at", "2015-03-20 10:00")
    assert call("quote", "--pickup", "jfk airport", "--dropoff", "-73.985,40.758", *when, "--json") == 0
    quote = json.loads(capsys.readouterr().out)
    assert quote["total"] == pytest.approx(quote["price"] + sum(quote["surcharges"].values()))
    assert (quote["pickup"], quote["dropoff"], quote["tariff"]) == ("JFK Airport (132)", "(-73.9850, 40.7580)", 52.0)
    assert sum(quote["parts"].values()) == pytest.approx(quote["price"])
    assert call("quote", "--pickup", "132", "--dropoff", "Midtown Center", *when) == 0
    said = capsys.readouterr().out
    assert "JFK Airport (132) to Midtown Center (161)" in said
    assert "flag fall" not in said
    assert call("quote", "--pickup", "132", "--dropoff", "161", *when, "--why") == 0
    said = capsys.readouterr().out
    price = float(said.removeprefix("Quote: ").split()[0])
    assert sum(float(line.split()[-2]) for line in said.splitlines()[1:]) == pytest.approx(price)
    assert "  flag fall                         +2.50 USD" in said
    assert call("quote", "--pickup", "JFK", "--dropoff", "161", *when) == 2
    assert "did you mean JFK Airport (132, Queens)?" in capsys.readouterr().err
    places = ("quote", "--pickup", "132", "--dropoff", "161")
    for asked, word in (
        (("--at", "2015-02-31 08:00"), "is no time"),
        (("--at", "1815-02-01 08:00"), "between 2000 and 2100"),
        ((*when, "--passengers", "50"), "passengers=50 do not fit into a taxi"),
    ):
        assert call(*places, *asked) == 2
        assert word in capsys.readouterr().err


def test_an_ingest_says_which_space_it_chose(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("ingest", str(sample), "--json") == 0
    said = capsys.readouterr()
    assert "a new lake, counted in Grid(24, 25" in said.err
    [source] = json.loads(said.out)
    assert source["space"].startswith("Grid(24, 25")
    assert source["space_reason"] == "trips begin and end at points"
    assert call("ingest", str(sample), "--space", "zones") == 1
    assert "counts in Grid(24, 25" in capsys.readouterr().err


def test_a_lakes_own_slot_is_the_default(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    td.Lake("lake").ingest(str(sample), slot="60min")
    assert call("ingest", str(sample), "--json") == 0
    assert call("ingest", str(sample), "--slot", "15min") == 1
    assert "60 min" in capsys.readouterr().err
    assert call("forecast") == 1
    assert "taxidask fit" in capsys.readouterr().err


def test_doctor_finds_what_is_wrong_and_names_a_remedy(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "--sources", str(sample), "--json") == 0
    findings = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert set(findings) == {"python", "settings", "sources", "disk", "lake", "store", "report", "dask"}
    assert call("doctor", "--compute", "tcp://127.0.0.1:9", "--sources", "missing.csv", "--report", ".") == 1
    out = capsys.readouterr().out
    assert out.count("BAD") == 3
    assert out.count("remedy:") == 3


def test_a_closed_pipe_is_no_error(sample: Path) -> None:
    taxidask = Path(sys.executable).with_name("taxidask")
    subprocess.run([taxidask, "ingest", str(sample)], check=True, capture_output=True, timeout=120)
    shell = f"{taxidask} trips query --limit 0 --json | head -c 10"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in ended.stderr


def test_what_is_wrong_is_said_without_a_traceback(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    shutil.copy(sample, "trips_2015-03.csv")
    for code, word, *arguments in [
        (2, "name no sources", "run"),
        (1, "file", "sample", "file", "--start", "2015-03", "--trips-per-month", "10"),
        (2, "neither .csv nor .parquet", "trips", "query", "--out", "day.xlsx"),
        (1, "there is no lake at", "trips", "query", "--lake", "nowhere"),
        (2, "'lots' is no size", "ingest", "trips_2015-03.csv", "--worker-memory", "lots"),
        (2, "port 99999", "app", "--port", "99999"),
    ]:
        assert call(*arguments) == code, arguments
        said = capsys.readouterr()
        assert word in said.err, (arguments, said.err)
        assert said.err.count("error:") == 1, (arguments, said.err)
        assert said.out == "", arguments
    assert not Path("taxidask.db").exists()


def test_an_error_of_the_system_has_a_remedy(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    td.Lake("lake").ingest(str(sample))
    assert call("trips", "query", "--limit", "3", "--out", "new/day.csv") == 0
    assert Path("new/day.csv").read_text().count("\n") == 4
    assert call("trips", "query", "--out", "file/day.csv") == 1
    said = capsys.readouterr().err
    assert "a part of its path is a file, not a folder; check the path" in said


def test_what_was_there_stays_until_the_new_file_is_whole(sample, monkeypatch, capsys) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    td.Lake("lake").ingest(str(sample))
    for name in ("day.csv", "day.parquet"):
        assert call("trips", "query", "--limit", "3", "--out", name) == 0
        before = Path(name).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            assert call("trips", "query", "--limit", "50", "--out", name) == 1
        said = capsys.readouterr().err
        assert f"cannot write {Path(name).absolute()}: the disk is full" in said
        assert "free some space on /" in said
        assert Path(name).read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["day.csv", "day.parquet", "lake"]


def test_the_message_of_a_full_disk_names_it(sample, small_disk, capsys) -> None:
    disk = small_disk("64k")
    td.Lake("lake").ingest(str(sample))
    for file, *arguments in [
        ("day.csv", "trips", "query", "--limit", "0", "--out", f"{disk}/day.csv"),
        ("day.parquet", "trips", "query", "--limit", "0", "--out", f"{disk}/day.parquet"),
        ("yellow_tripdata_2015-03.csv", "sample", str(disk), "--start", "2015-03", "--trips-per-month", "2000"),
    ]:
        assert call(*arguments) == 1
        said = capsys.readouterr().err
        assert f"cannot write {disk}/{file}: the disk is full, or was with a part of this file: " in said
        assert f"free some space on {disk} or choose another disk" in said
        assert list(disk.iterdir()) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_while_the_command_is_imported_is_a_line(name) -> None:
    script = f"""
import os, signal, sys
class Interrupting:
    def find_spec(self, module, *_):
        if module == "cyclopts":
            os.kill(os.getpid(), signal.{name})
sys.meta_path.insert(0, Interrupting())
from taxidask.cli import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


PENDING = """
import atexit, io, threading, time
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from taxidask.cli import command, main

begun = threading.Event()

class File(io.BytesIO):
    def read(self, *size):
        if "Dummy" in threading.current_thread().name:  # Arrow's own
            begun.set()
            time.sleep(1)
        return super().read(*size)

def run(_):
    sink = io.BytesIO()
    pq.write_table(pa.table({f"c{i}": np.arange(100_000) for i in range(8)}), sink, row_group_size=10_000)
    reader = pq.ParquetFile(pa.PythonFile(File(sink.getvalue()), mode="r"), pre_buffer=True)
    threading.Thread(target=lambda: list(reader.iter_batches()), daemon=True).start()
    assert begun.wait(60)
    threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
    atexit.register(print, "at exit")
    print("answer")
    return 3

command.run = run
main()
"""


def test_a_process_ends_with_its_code_while_arrow_still_reads() -> None:
    ended = subprocess.run([sys.executable, "-c", PENDING], capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "answer\nthread\nat exit\n", "")


def test_a_full_standard_output_is_an_error_in_words(sample) -> None:
    td.Lake("lake").ingest(str(sample))
    command = [sys.executable, "-c", "from taxidask.cli import main; main()", "trips", "query", "--json"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "cannot use the standard output: the disk is full" in ended.stderr


def test_a_result_may_be_written_to_a_url(sample, bucket, capsys) -> None:
    td.Lake("lake").ingest(str(sample))
    for name in ("day.csv", "day.parquet"):
        assert call("trips", "query", "--limit", "7", "--out", f"{bucket}/new/{name}") == 0
        assert call("trips", "query", "--limit", "7", "--out", f"file://{Path(name).absolute()}") == 0
        assert default_storage().read(f"{bucket}/new/{name}") == Path(name).read_bytes()
    assert len(pd.read_parquet("day.parquet")) == len(pd.read_csv("day.csv")) == 7
    assert sorted(path.name for path in Path().iterdir()) == ["day.csv", "day.parquet", "lake"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "s3://bucket/trips", "--start", "2015-01"],
        ["sample", "memory://trips", "--start", "2015-01"],
        ["demo", "s3://bucket/demo"],
        ["demo", "--folder", "s3:/bucket/demo"],
        ["demo", "https://host/demo"],
        ["trips", "query", "--out", "https://host/day.csv"],
        ["trips", "query", "--out", "memory://day.csv"],
        ["trips", "query", "--out", "s3://day.csv"],
        ["trips", "query", "--out", "s3:/bucket/day.csv"],
        ["forecast", "--out", "ftp://host/day.csv"],
    ],
)
def test_a_place_that_is_not_written_is_refused_before_the_work(arguments, capsys) -> None:
    assert call(*arguments) == 2
    assert capsys.readouterr().err.count("error:") == 1
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["anna", "--all"], ["anna", "--anyones"]])
def test_cluster_down_wants_names_or_all(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("cluster", "down", *arguments) == 2
    assert "name some, e.g. taxidask cluster down anna, or give --all" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_cluster_without_kubernetes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert call("cluster", command, "anna") == 1
    assert "KUBECONFIG" in capsys.readouterr().err


AHEAD = """
import sys
import taxidask as td
from numba.core.dispatcher import Dispatcher
from taxidask.cli.ahead import compile_ahead
from taxidask.fare.landmarks import taxi_zones

def compiled():
    modules = [it for name, it in sys.modules.items() if name.startswith("taxidask.") and ".sample" not in name]
    kernels = {thing for module in modules for thing in vars(module).values() if isinstance(thing, Dispatcher)}
    return {(one.__name__, signature) for one in kernels for signature in one.signatures}

compile_ahead()
ahead = compiled()
td.Lake("lake").ingest(td.make_sample("trips", start="2015-03", trips_per_month=2000))
taxi_zones([-73.785], [40.645])
assert len(ahead) > 10 and compiled() == ahead, compiled() - ahead
"""


def test_what_the_demo_reads_is_compiled_ahead(tmp_path):
    done = subprocess.run([sys.executable, "-c", AHEAD], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ingest_says_what_is_there_and_how_to_go_on(sample, monkeypatch, capsys, number) -> None:
    trips = sample.read_text().splitlines(keepends=True)
    many = Path("trips of mine", "yellow_tripdata_2015-03.csv")
    many.parent.mkdir()
    many.write_text("".join([trips[0], *trips[1:] * 35]))  # two blocks of 8 MiB
    collect = Driver._collect

    def interrupted(self: Driver, task: object, *rest: object) -> None:
        collect(self, task, *rest)  # type: ignore[arg-type]
        os.kill(os.getpid(), number)

    monkeypatch.setattr(td, "connect", lambda _: contextlib.nullcontext(ThreadExecutor(1)), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(Driver, "_collect", interrupted)
        assert call("ingest", "trips of mine/*.csv", "--lake", "lake", "--block-size", "8MiB") == 130
    told = capsys.readouterr().err
    assert "ingest interrupted: 1 block read and kept, 0 sources in the lake\n" in told
    line = told.split("go on with: ")[1].splitlines()[0]
    monkeypatch.chdir("/")
    assert call(*shlex.split(line)[1:]) == 0
    assert "1 read, 70,000 rows, 69,300 kept" in capsys.readouterr().out


def test_what_is_interrupted_before_it_has_begun_says_how_to_go_on_too(sample, tmp_path, monkeypatch, capsys) -> None:
    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    shutil.copy(sample, "my.csv")
    monkeypatch.setattr(td, "connect", lambda _: contextlib.nullcontext(ThreadExecutor(1)), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr("taxidask.cli.trips.resolve", interrupted)
        assert call("ingest", "my.csv", "--slot", "1h") == 130
        patch.setattr("taxidask.runs.pipeline.open_job", interrupted)
        assert call("run", "--sources", "my.csv", "--slot", "1h") == 130
    ingest, run = (shlex.split(line) for line in re.findall("go on with: (.*)", capsys.readouterr().err))
    here = [f"{tmp_path}/my.csv", "--lake", f"{tmp_path}/lake"]
    assert run == [
        *("taxidask", "run", "--sources", *here, "--store", f"sqlite:///{tmp_path}/taxidask.db"),
        *("--slot", "1h", "--resume", "last"),
    ]
    assert ingest == ["taxidask", "ingest", *here, "--slot", "1h"]
    assert [path.name for path in Path().iterdir()] == ["my.csv"]
    monkeypatch.chdir("/")
    assert call(*ingest[1:]) == 0


def test_another_months_file_under_a_months_name_is_told_loudly(sample, capsys) -> None:
    lines = sample.read_text().splitlines(keepends=True)
    lines[1:1900] = [line.replace("2015-03-", "2015-04-") for line in lines[1:1900]]
    Path(sample.name).write_text("".join(lines))
    for _ in range(2):  # again when nothing is read
        assert call("ingest", sample.name, "--lake", "lake") == 3
        out, err = capsys.readouterr()
        told = r"MOST ROWS REJECTED: 1,8\d\d of 2,000 as outside_month \(is it another month's file\? .*2015-03; if so"
        assert re.search(told, out)
        assert f"{sample.name}: MOST ROWS REJECTED" in err


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_a_likely_cause(reason) -> None:
    most = SourceIngest("a.csv", month="2015-03", rows=10, kept=4, rejected={reason: 6})
    assert most.mostly_rejected.startswith(f"MOST ROWS REJECTED: 6 of 10 as {reason} (")
    assert not SourceIngest("a.csv", rows=12, kept=6, rejected={reason: 6}).mostly_rejected
    assert not SourceIngest("a.csv").mostly_rejected


def test_a_file_of_a_wrong_months_name_counts_once_it_is_renamed(sample, capsys) -> None:
    Path("trips").mkdir()
    wrong = Path("trips", "yellow_tripdata_2016-09.csv")
    shutil.copy(sample, wrong)
    assert call("ingest", "trips", "--lake", "lake") == 1
    assert "not one of the 2,000 rows" in capsys.readouterr().err
    wrong.rename(Path("trips", sample.name))
    assert call("ingest", "trips", "--lake", "lake") == 0
    assert "1,980 kept" in capsys.readouterr().out
    assert len(td.Lake("lake").trips()) == 1980


def test_what_was_removed_is_told_though_the_next_name_is_wrong(sample, capsys) -> None:
    assert call("ingest", str(sample), "--lake", "lake") == 0
    capsys.readouterr()
    assert call("lake", "remove", sample.name, "nope.csv", "--lake", "lake") == 1
    out, err = capsys.readouterr()
    assert out.startswith("removed ")
    assert "has no source" in err
