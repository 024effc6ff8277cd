from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from distributed.diskutils import WorkSpace

import taxidask as td
from taxidask.compute import node
from taxidask.compute.connection import size
from taxidask.errors import ComputeError
from taxidask.settings import Settings


def wait_until(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def processes(client) -> list[psutil.Process]:
    node = psutil.Process(client._node.process.pid)
    return [node, *node.children(recursive=True)]


def run_script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(text)
    return subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=90)


WORK = """
    print(sorted(executor().map_unordered(local, range(3))))
    node = psutil.Process(client._node.process.pid)
    print(*[p.pid for p in [node, *node.children(recursive=True)]])
"""


@pytest.mark.parametrize(
    "work",
    [
        f"client = td.connect()\nif True:{WORK}",
        f"with td.connect() as client:{WORK}",
        "import asyncio\nasync def main():\n with td.connect() as client:" + WORK + "asyncio.run(main())",
    ],
    ids=["never closed", "a context", "inside an event loop, as in a notebook"],
)
def test_a_plain_script_without_a_main_guard(tmp_path, work):
    (tmp_path / "beside.py").write_text("def double(x):\n    return 2 * x\n")
    text = f"""
import psutil
import taxidask as td
from taxidask.compute import executor
import beside

def local(x):
    return beside.double(x) + 1

{work}
"""
    done = run_script(tmp_path, text)
    assert (done.returncode, done.stderr) == (0, "")
    first, pids = done.stdout.splitlines()
    assert first == "[(0, 1), (1, 3), (2, 5)]"
    wait_until(lambda: not any(psutil.pid_exists(int(p)) for p in pids.split()), 10, "the cluster's end")


@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a fork that holds its files"])
def test_nothing_outlives_a_killed_driver(tmp_path, fork):
    text = f"""
import os, time
import psutil
import taxidask as td
client = td.connect()
busy = client.map(time.sleep, [600, 601])
node = psutil.Process(client._node.process.pid)
child = os.fork() if {fork} else 0
if {fork} and not child:
    time.sleep(600)
print(child, *[p.pid for p in [node, *node.children(recursive=True)]], flush=True)
time.sleep(600)
"""
    script = tmp_path / "script.py"
    script.write_text(text)
    driver = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    child, *pids = map(int, driver.stdout.readline().split())
    try:
        assert len(pids) >= 2
        driver.kill()
        wait_until(lambda: not any(map(psutil.pid_exists, pids)), 15, "scheduler and workers to end")
    finally:
        driver.kill()
        if child:
            os.kill(child, signal.SIGKILL)
        driver.communicate()


def test_a_folder_that_another_cluster_cleared_away_is_no_news(tmp_path, caplog, monkeypatch):
    logger = logging.getLogger("distributed.diskutils")
    monkeypatch.setattr(logger, "filters", [])
    monkeypatch.setattr(logger, "handlers", [caplog.handler])  # whatever else was done to it and those above
    caplog.set_level(logging.ERROR, logger=logger.name)
    node._quiet()
    space = WorkSpace(str(tmp_path / "scratch"))
    space._purge_directory(str(tmp_path / "gone"))
    assert caplog.messages == []
    (tmp_path / "file").touch()
    space._purge_directory(str(tmp_path / "file"))  # what else is wrong is told
    assert any("Failed to remove" in message for message in caplog.messages)


def test_ctrl_c_ends_it_quietly(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs that a shell starts in the background ignore it
import taxidask as td
from taxidask.compute import executor
try:
    with td.connect() as client:
        for item, _ in executor().map_unordered(lambda _: time.sleep(0.5), range(1000)):
            print(client._node.process.pid, flush=True)
except KeyboardInterrupt:
    print("interrupted")
""")
    driver = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    node = int(driver.stdout.readline())
    time.sleep(0.25)  # until it waits: inside distributed's Future.__init__ Python itself prints an ignored exception
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    out, err = driver.communicate(timeout=60)
    assert (out.splitlines()[-1], err, driver.returncode) == ("interrupted", "", 0)
    assert not psutil.pid_exists(node)


def test_a_scheduler_that_is_gone_is_told_once_and_without_a_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
import os, signal, time
import taxidask as td
from taxidask.compute import executor
from taxidask.settings import Settings
with td.connect(Settings(workers=1)) as first:
    try:
        with td.connect(Settings(compute=first.scheduler.address)) as client:
            for item, _ in executor(client).map_unordered(lambda _: time.sleep(0.3), range(1000)):
                if item == 2:
                    os.kill(first._node.process.pid, signal.SIGKILL)
    except td.TaxidaskError as error:
        print(error, flush=True)
os._exit(0)
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert "is gone" in done.stdout
    assert "Traceback" not in done.stderr, done.stderr


def test_leaving_closes_what_connect_started_and_nothing_else(cluster):
    with td.connect(Settings(compute=cluster.scheduler.address)) as second:
        assert second.submit(abs, -1).result() == 1
    assert cluster.submit(abs, -2).result() == 2

    with td.connect(Settings(workers=1)) as third:
        started = processes(third)
    wait_until(lambda: not any(p.is_running() for p in started), 5, "Python's own resource tracker, which ends last")
    assert cluster.submit(abs, -3).result() == 3


def test_shutdown_ends_the_processes_too():
    client = td.connect(Settings(workers=1))
    started = processes(client)
    client.shutdown()
    wait_until(lambda: not any(p.is_running() for p in started), 15, "the cluster's end")
    client.close()


def test_only_this_machine_can_reach_it(cluster):
    listening = [
        connection.laddr.ip
        for process in processes(cluster)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


def test_workers_have_limits_and_come_back(cluster):
    workers = cluster.scheduler_info()["workers"]
    assert [(w["nthreads"], w["memory_limit"]) for w in workers.values()] == [(max(1, os.cpu_count() // 2), 2**30)] * 2
    before = cluster.run(os.getpid)
    victim = next(iter(before.values()))
    os.kill(victim, signal.SIGKILL)
    pids = lambda: set(cluster.run(os.getpid, on_error="ignore").values()) - {victim}  # noqa: E731
    wait_until(lambda: len(pids()) == 2, 30, "a new worker")


def test_it_becomes_the_current_client(cluster):
    assert td.compute.executor()._client is cluster


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        ("kubernetes", ["Kubernetes", "KUBECONFIG", "kubectl version"]),
        ("tls://127.0.0.1:1", ["tls://127.0.0.1:1", "distributed.comm.tls"]),
    ],
)
def test_what_cannot_be_connected_to_says_so(compute, words, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ComputeError) as error:
        td.connect(Settings(compute=compute, image="taxidask:1"))
    assert all(word in str(error.value) for word in words)
    assert td.compute.executor().map_unordered(abs, [-1])  # not the client that never connected


def test_unknown_words_are_named():
    with pytest.raises(ComputeError, match="'slurm' is unknown"):
        td.connect(Settings.model_construct(compute="slurm"))
    with pytest.raises(ComputeError, match="takes Settings, not 'local'"):
        td.connect("local")


def test_a_scheduler_that_is_not_there():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ComputeError, match=f"waited 2 s for a Dask scheduler at {address}"):
            td.connect(Settings(compute=address), timeout=2)
        assert time.monotonic() - start < 15


def test_a_cluster_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr("taxidask.compute.node.BOOT", "import sys; sys.exit(7)")
    with pytest.raises(ComputeError, match="did not start: it ended with code 7"):
        td.connect()
    with monkeypatch.context() as late:  # what it is told arrives after its end
        late.setattr("taxidask.compute.local.json.dumps", lambda spec: time.sleep(0.5) or "{}")
        with pytest.raises(ComputeError, match="did not start: it ended with code 7"):
            td.connect()
    monkeypatch.setattr("taxidask.compute.node.BOOT", "import time; time.sleep(60)")
    with pytest.raises(ComputeError, match="waited 1 s for a local cluster to start"):
        td.connect(timeout=1)


def test_size_follows_the_machine(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 10 * 2**30)
    assert size() == (4, 2, 9 * 2**30 // 4)
    assert size(2, "1GiB") == (2, 4, 2**30)
    with pytest.raises(ComputeError, match=r"2 workers of 6\.00 GiB each need 12\.00 GiB; this machine has 10\.00 GiB"):
        size(2, "6GiB")
    monkeypatch.setattr("dask.system.CPU_COUNT", 1)
    assert size()[:2] == (1, 1)
