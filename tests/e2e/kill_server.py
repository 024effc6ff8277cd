"""Kills an ingest at its n-th step, n = 1, 2, … until it ends, and looks at the lake after each kill.

Run as a script, "kill" or the number of races of two drivers: one warm process forks a child that is killed, then one
that looks, resumes and compares. Prints a JSON line per kill or race.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from taxidask.compute.executors import ThreadExecutor
from taxidask.lake import Lake, tasks
from taxidask.space import Grid
from taxidask.storage import Storage, join
from taxidask.trips import Ingest, sources, streams

RANGE = 4096
BLOCK = 2 * RANGE
SPACE = Grid(3, 3, west=-74.05, south=40.6, east=-73.75, north=40.9)
_step = {"n": 0, "kill": 0}


def step() -> None:
    _step["n"] += 1
    if _step["n"] == _step["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)


def count_steps(kill: int) -> None:
    """From now on this process is killed at its `kill`-th storage call, or step of a local write."""
    _step["kill"] = kill
    call = Storage._call

    def counted(self, op, url, fn, *, needs=0):
        step()
        return call(self, op, url, fn, needs=needs)

    Storage._call = counted
    rename = os.rename

    def half_way(*args, **kwargs):  # inside a local write, when all but the name is there
        step()
        return rename(*args, **kwargs)

    os.rename = half_way


def digest(lake: Lake) -> str:
    """Of everything queries give, byte for byte, but the seconds it took."""
    found = hashlib.sha256()
    listed = lake.sources()
    for frame in (lake.trips(), lake.rejects(), listed.drop(columns=["seconds"])):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        found.update(sink.getvalue())
    if len(listed):
        cube = lake.cube()
        found.update(f"{cube.start} {cube.slot} {cube.space.key}".encode())
        found.update(cube.counts.tobytes() + cube.missing.tobytes())
        found.update(lake.fingerprint().encode())
    return found.hexdigest()


def ingest(url: str, files: list[str], **options) -> Ingest:
    return Lake(url).ingest(files, space=SPACE, slot="3h", block_size=BLOCK, client=ThreadExecutor(2), **options)


def forked(work) -> dict:
    """Run in a child: what it returned, or how it ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            answer = work()
            os.write(write, json.dumps(answer).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    return {"answer": json.loads(data) if data else None, "signal": status & 0x7F, "code": status >> 8}


def killed(url: str, files: list[str], n: int) -> dict:
    count_steps(n)
    ingest(url, files)
    return {"steps": _step["n"]}


def looked_at(url: str, files: list[str], expected: dict[str, str]) -> dict:
    lake = Lake(url)
    seen = sorted(lake.sources()["url"])
    whole = digest(lake) == expected[json.dumps(seen)]
    names = [stat.url.removeprefix(join(url, "blocks") + "/") for stat in Storage().list(join(url, "blocks"))]
    finished = {name for name in names if name.endswith(".json")}
    again: list[str] = []
    read_block = tasks.read_block

    def recorded(block, **options):
        stem = tasks.Job(url, lake.storage, block.source, options["rules"], "", 0).stem
        again.append(f"{stem}/{block.start}-{block.stop}.json")
        return read_block(block, **options)

    tasks.read_block = recorded
    ingest(url, files)
    resumed = digest(Lake(url)) == expected[json.dumps(sorted(files))]
    left = len(Storage().list(join(url, "blocks")))
    return {
        "seen": len(seen),
        "whole": whole,
        "resumed": resumed,
        "read_again": sorted(finished & set(again)),
        "finished": len(finished),
        "blocks_read": len(again),
        "left": left,
    }


def expectations(url: str, files: list[str]) -> dict[str, str]:
    found = {}
    for name, chosen in (("none", []), ("first", files[:1]), ("second", files[1:]), ("both", files)):
        if chosen:
            ingest(join(url, name), chosen)
        found[json.dumps(sorted(chosen))] = digest(Lake(join(url, name)))
    return found


def preload() -> None:
    """Let all children share the modules and data files of a connection, which take longer than an ingest."""
    import aiobotocore.httpsession  # noqa: F401
    import botocore.loaders
    import botocore.session
    import s3fs  # noqa: F401

    loader = botocore.loaders.create_loader()
    for kind in ("service-2", "endpoint-rule-set-1", "paginators-1", "waiters-2"):
        loader.load_service_model("s3", kind)
    for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration"):
        loader.load_data(name)
    loader.list_available_services("service-2")
    botocore.session.create_loader = lambda *args: loader


def raced(url: str, files: list[str], turn: int) -> list[dict]:
    """One of two drivers that begin at the same moment."""
    Storage().write(join(url, f"turn-{turn}"), b"")
    deadline = time.monotonic() + 20
    while not Storage().exists(join(url, f"turn-{1 - turn}")) and time.monotonic() < deadline:
        time.sleep(0.001)
    result = ingest(url, files if turn else files[::-1])
    return [{"url": one.url, "note": one.note, "skipped": one.skipped, "kept": one.kept} for one in result.sources]


def race(base: str, files: list[str], expected: dict[str, str], n: int) -> None:
    url = join(base, f"race-{n}")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda turn: forked(lambda: raced(url, files, turn)), range(2)))
    same = forked(lambda: digest(Lake(url)) == expected[json.dumps(sorted(files))])
    print(json.dumps({"drivers": [answer["answer"] for answer in answers], "same": same["answer"]}), flush=True)


def kill(base: str, files: list[str], expected: dict[str, str], n: int) -> bool:
    """Whether it was killed: not, once n is more than its steps."""
    url = join(base, f"lake-{n}")
    ended = forked(lambda: killed(url, files, n))
    found = forked(lambda: looked_at(url, files, expected))
    print(json.dumps({"n": n, "signal": ended["signal"], **(found["answer"] or {"failed": True})}), flush=True)
    return ended["signal"] == signal.SIGKILL


def main() -> None:
    what, base, *files = sys.argv[1:]
    sources.RANGE_BYTES = streams.RANGE_BYTES = RANGE
    if base.startswith("s3://"):
        preload()
    ingest("memory://warm", files)  # compile and load everything before the first fork
    digest(Lake("memory://warm"))
    expected = forked(lambda: expectations(join(base, "expected"), files))["answer"]
    if what == "kill":
        n = 1
        while kill(base, files, expected, n):
            n += 1
    else:
        for n in range(int(what)):
            race(base, files, expected, n)


if __name__ == "__main__":
    main()
