"""Clusters of worker pods on a real Kubernetes: started, scaled, found again, lost, and refused for every reason."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kube import HEAD, IMAGE, Drivers, Kubectl, pod, until

pytestmark = pytest.mark.timeout(420)

CLUSTERS = int(os.environ.get("TAXIDASK_TEST_CLUSTERS", "3"))  # started and closed in a row


def left(kubectl: Kubectl, name: str = "") -> list[str]:
    """What is there of clusters."""
    selector = f"dask.org/cluster-name={name}" if name else "dask.org/cluster-name"
    kinds = "daskclusters,daskworkergroups,daskautoscalers,deployments,pods,services,secrets"
    return [f"{o['kind']}/{o['metadata']['name']}" for o in kubectl.get(kinds, "-l", selector)["items"]]


def test_a_cluster_works_and_leaves_nothing(drive: Drivers, cluster: Kubectl) -> None:
    told = drive("""
from taxidask.compute.kubernetes.status import Status
status, seen = Status(), []
status.listen(lambda now: seen.append(now.waiting_for or now.state))
tell(first=str(status))
with td.connect(settings(workers=2), status=status) as client:
    cluster = client.cluster
    pods = [p["metadata"]["name"] for p in cluster.pods()]
    tell(answer=sum(client.gather(client.map(lambda x: x * x, range(10)))), name=cluster.name, pods=len(pods),
         repr=repr(cluster), address=cluster.scheduler_address, status=status is cluster.status,
         inside=client.submit(lambda: __import__("distributed").get_client().scheduler.address).result())
tell(seen=list(dict.fromkeys(seen)))
""")
    first, up, seen = told
    assert first == {"first": "starting"}
    assert up["answer"] == 285
    assert up["pods"] == 3
    assert up["status"] is True
    assert up["address"].startswith("tls://")
    assert up["inside"].startswith("tls://"), "tasks that start tasks speak TLS too"
    assert f"{up['name']!r} in namespace 'taxidask': running" in up["repr"]
    assert seen["seen"][0].startswith("preflight")
    assert [s for s in seen["seen"] if s in ("the scheduler's pod", "2 workers", "running", "closed")] == [
        *("the scheduler's pod", "2 workers", "running", "closed")
    ]
    assert left(cluster, up["name"]) == []


def test_clusters_in_a_row_all_run_and_leave_nothing(drive: Drivers, cluster: Kubectl) -> None:
    told = drive(
        f"""
for number in range({CLUSTERS}):
    began = time.monotonic()
    with td.connect(settings(), timeout=120) as client:
        took = time.monotonic() - began
        phase = client.cluster.phase()
        name = client.cluster.name
        began = time.monotonic()
    tell(name=name, phase=phase, start=round(took, 1), close=round(time.monotonic() - began, 1))
""",
        seconds=110 * CLUSTERS,
    )
    print(*told, sep="\n")
    assert [row["phase"] for row in told] == ["Running"] * CLUSTERS
    for row in told:
        assert left(cluster, row["name"]) == []


def test_a_cluster_is_found_by_name_and_not_deleted_by_who_did_not_make_it(
    drive: Drivers, cluster: Kubectl, name: str
) -> None:
    up = drive.command("cluster", "up", name, "--image", IMAGE, "--workers", "1", "--worker-memory", "768MiB",
                       "--worker-cpus", "0.1", "--json")  # fmt: skip
    assert up.returncode == 0, up.stderr
    described = json.loads(up.stdout)
    assert (described["name"], described["state"], described["workers"]) == (name, "Running", 1)
    told = drive(f"""
for _ in range(2):
    with td.connect(settings(cluster_name={name!r}), timeout=60) as client:
        tell(mine=client.cluster.mine, answer=client.submit(sum, [1, 2]).result())
os.environ["TAXIDASK_CLUSTER_NAME"] = {name!r}
client = td.connect(settings(cluster_name={name!r}), timeout=60)  # never closed
tell(alive=client.cluster.alive())
""")
    assert told == [{"mine": False, "answer": 3}, {"mine": False, "answer": 3}, {"alive": True}]
    shown = drive.command("cluster", "status", name)
    assert shown.returncode == 0, shown.stderr
    for part in (
        "1 ready of 1 wanted, 1 joined",
        "GiB of workers",
        "USD so far",
        f"http://{name}-scheduler.taxidask:8787",
    ):
        assert part in shown.stdout
    down = drive.command("cluster", "down", name)
    assert (down.returncode, left(cluster, name)) == (0, []), down.stderr
    again = drive.command("cluster", "status", name)
    assert again.returncode == 1
    assert f"there is no cluster {name}" in again.stderr
    assert drive.command("cluster", "down").returncode == 2


def test_scaling_down_keeps_what_workers_hold_and_adapt_follows_the_load(drive: Drivers, name: str) -> None:
    told = drive(f"""
with td.connect(settings(workers=3, cluster_name={name!r}), timeout=120) as client:
    futures = client.map(lambda i: bytes([i]) * 1000, range(30), pure=False)
    wait(futures)
    holders = len([keys for keys in client.has_what().values() if keys])
    client.cluster.scale(1)
    until(lambda: len(client.nthreads()) == 1, "one worker")
    until(lambda: len(client.cluster.pods()) == 2, "one worker's pod")
    lost = client.run_on_scheduler(lambda dask_scheduler: [
        dict(expected=e["expected"], lost=len(e["lost-computed-tasks"]))
        for _, e in dask_scheduler.get_events("all") if e["action"] == "remove-worker"])
    tell(holders=holders, lost=lost, finished=[f.status for f in futures].count("finished"),
         again=client.gather(futures) == [bytes([i]) * 1000 for i in range(30)])
    del futures
    for wrong in ((3, 1), (-1, 2), (0, 0)):
        try:
            client.cluster.adapt(minimum=wrong[0], maximum=wrong[1])
        except TaxidaskError as error:
            tell(error=str(error))
    client.cluster.adapt(minimum=1, maximum=3)
    work = client.map(lambda i: time.sleep(1), range(60), pure=False)
    until(lambda: len(client.nthreads()) == 3, "adapt to three")
    wait(work)
    until(lambda: len(client.nthreads()) == 1, "adapt back to one")
    tell(wanted=client.cluster.wanted())
""")
    scaled, *wrong, adapted = told
    assert scaled["holders"] == 3
    assert scaled["lost"] == [{"expected": True, "lost": 0}] * 2
    assert scaled["finished"] == 30
    assert scaled["again"] is True
    assert len(wrong) == 3
    assert all("give both limits" in e["error"] for e in wrong)
    assert adapted == {"wanted": 1}


def test_nothing_is_removed_while_the_scheduler_cannot_be_asked(drive: Drivers, cluster: Kubectl, name: str) -> None:
    """Stock dask-kubernetes would take away the newest worker then, with what it holds."""

    def point(port: Any) -> None:
        patch = [{"op": "replace", "path": "/spec/ports/1/targetPort", "value": port}]
        cluster("patch", "service", f"{name}-scheduler", "--type=json", "-p", json.dumps(patch))

    driver = drive.start(f"""
with td.connect(settings(workers=2, cluster_name={name!r}), timeout=120) as client:
    futures = client.scatter(list(range(50)))
    tell(workers=len(client.nthreads()))
    until(lambda: len(client.nthreads()) == 1, "one worker", 120)
    tell(kept=client.gather(futures) == list(range(50)))
""")
    assert drive.first(driver) == {"workers": 2}
    point(9999)
    cluster("patch", "daskworkergroup", f"{name}-default", "--type=merge", "-p", '{"spec":{"worker":{"replicas":1}}}')
    log = lambda: cluster("logs", "deployment/dask-operator", "--since=2m")  # noqa: E731
    until(lambda: f"{name}-default keeps its workers" in log(), "the operator to say so", 60)
    time.sleep(5)
    workers = cluster.get("deployments", "-l", f"dask.org/cluster-name={name},dask.org/component=worker")["items"]
    assert len(workers) == 2
    point("http-dashboard")
    out, err = driver.communicate(timeout=180)
    assert driver.returncode == 0, err
    assert json.loads(out) == {"kept": True}


def test_a_phase_that_was_overtaken_is_repaired(drive: Drivers, cluster: Kubectl, name: str) -> None:
    """dask-kubernetes#968: the later of two handlers that raced writes the earlier phase, and nothing ever mends it."""
    drive(f"""
from taxidask.compute.kubernetes import look
look.up(settings(cluster_name={name!r}))
""")
    phase: Callable[[], str] = lambda: cluster.get("daskcluster", name)["status"]["phase"]  # noqa: E731
    for lost in ("Pending", "Created"):  # by the operator's handler, and by its rounds
        assert phase() == "Running"
        cluster("patch", "daskcluster", name, "--type=merge", "-p", json.dumps({"status": {"phase": lost}}))
        until(lambda: phase() == "Running", f"{lost} to be repaired", 30)


def test_who_has_no_certificate_is_refused(drive: Drivers, name: str) -> None:
    told = drive(f"""
from distributed import Client, Security
from taxidask.compute.kubernetes.certificates import Certificates
import datetime as dt
with td.connect(settings(cluster_name={name!r}), timeout=120) as client:
    address = client.cluster.scheduler_address
    worker = next(iter(client.nthreads()))
    others = Certificates.make({name!r}, "taxidask", now=dt.datetime.now(dt.UTC)).security()
    bare = Security(require_encryption=True, tls_ca_file=client.cluster.certificates().ca)
    for where, security in ((address.replace("tls", "tcp"), None), (address, others), (address, bare),
                            (worker.replace("tls", "tcp"), None)):
        import logging; logging.getLogger("distributed").setLevel(logging.CRITICAL)
        stranger = Client.__new__(Client)
        try:
            stranger.__init__(where, security=security, timeout=6, set_as_default=False)
            tell(refused=False, where=where)
        except Exception as error:
            stranger.close()
            tell(refused=True)
    tell(works=client.submit(sum, [1, 2]).result())
""")
    assert told == [{"refused": True}] * 4 + [{"works": 3}]


FAILURES = {
    "image": ('image="localhost/taxidask:no-such-tag"', "", ["ImagePull", "no-such-tag", "check the setting image"]),
    "unschedulable": ("scheduler_cpus=4", "", ["Unschedulable", "Insufficient cpu", "ask for less"]),
    "memory": ('scheduler_memory="64MiB"', "", ["OOMKilled at its memory limit of 64 MiB", "scheduler_memory"]),
    "worker memory": (
        "", 'spec["worker"]["spec"]["containers"][0]["resources"] = '
        '{"limits": {"memory": "50Mi", "cpu": "100m"}, "requests": {"memory": "50Mi", "cpu": "100m"}}',
        ["default-worker", "OOMKilled at its memory limit of 50Mi", "worker_memory"],
    ),
    "crash": (
        "", 'spec["scheduler"]["spec"]["containers"][0]["args"] = ["python", "-c", "raise SystemExit(\'no way\')"]',
        ["it ended with exit code 1", "log: no way", "the log lines above say why"],
    ),
    "pod security": (
        "", 'spec["worker"]["spec"]["securityContext"] = {}',
        ["violates PodSecurity", "restricted", "denied"],
    ),
    "quota": (
        "", 'spec["worker"]["replicas"] = 4; spec["worker"]["spec"]["containers"][0]["resources"] = '
        '{"limits": {"memory": "8Gi", "cpu": "10m"}, "requests": {"memory": "8Gi", "cpu": "10m"}}',
        ["exceeded quota", "raise the ResourceQuota"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_pods_that_cannot_start_are_an_error_in_time_and_are_removed(
    case: str, drive: Drivers, cluster: Kubectl, name: str
) -> None:
    given, change, words = FAILURES[case]
    [told] = drive(f"""
from taxidask.compute.kubernetes import start as clusters
plain = clusters.dask_cluster
def changed(shape, **options):
    body = plain(shape, **options)
    spec = body["spec"]
    {change or "pass"}
    return body
clusters.dask_cluster = changed
began = time.monotonic()
try:
    with td.connect(settings(cluster_name={name!r}, {given}), timeout=60):
        tell(error="it started")
except TaxidaskError as error:
    tell(error=str(error), kind=type(error).__name__, seconds=time.monotonic() - began)
""")
    for word in words:
        assert word in told["error"], told["error"]
    assert "event:" in told["error"], told["error"]
    assert told["seconds"] < 60 + 3, "the deadline, with what was made removed again"
    # a worker that ran may take its grace period, which the error then says
    until(lambda: left(cluster, name) == [], "what was made to go", 60)


def test_preflight_names_every_remedy_before_a_pod_is_made(drive: Drivers, cluster: Kubectl, name: str) -> None:
    [told] = drive(f"""
try:
    td.connect(settings(cluster_name={name!r}, image="localhost/taxidask:latest", workers=100), timeout=30)
except TaxidaskError as error:
    tell(error=str(error))
""")
    assert "has the tag latest" in told["error"]
    assert "needs 101 of pods" in told["error"]
    assert "raise the ResourceQuota" in told["error"]
    assert left(cluster, name) == []
    [told] = drive(f"""
try:
    td.connect(settings(cluster_name={name!r}, namespace="kube-public"), timeout=30)
except TaxidaskError as error:
    tell(error=str(error))
""")
    assert "no dask operator runs in namespace kube-public" in told["error"]
    assert "kubectl apply -k" in told["error"]


def test_an_api_server_that_does_not_answer_is_an_error_with_a_remedy(drive: Drivers, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("""
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: none, user: {token: none}}]
""")
    [told] = drive(f"""
os.environ["KUBECONFIG"] = {str(config)!r}
began = time.monotonic()
try:
    td.connect(settings(), timeout=30)
except TaxidaskError as error:
    tell(error=str(error), seconds=time.monotonic() - began)
""")
    assert "the Kubernetes API does not answer" in told["error"]
    assert "KUBECONFIG" in told["error"]
    assert told["seconds"] < 40


def test_another_version_in_the_pods_is_an_error_with_both(drive: Drivers, cluster: Kubectl, name: str) -> None:
    [told] = drive(f"""
from distributed import versions
plain = versions._version_cached
versions._version_cached = lambda package: "0.0.9" if package == "taxidask" else plain(package)
try:
    td.connect(settings(cluster_name={name!r}), timeout=120)
except TaxidaskError as error:
    tell(error=str(error))
""")
    assert "taxidask 0.0.9 here, 0.1.0 on the scheduler and worker" in told["error"]
    assert left(cluster, name) == []


def test_a_cluster_without_work_or_driver_is_removed(drive: Drivers, cluster: Kubectl, name: str) -> None:
    driver = drive.start(f"""
client = td.connect(settings(cluster_name={name!r}, idle_timeout="20s"), timeout=120)
client.submit(sum, [1, 2]).result()
tell(up=True)
time.sleep(600)
""")
    assert drive.first(driver) == {"up": True}
    os.killpg(driver.pid, signal.SIGKILL)
    began = time.monotonic()
    until(lambda: left(cluster, name) == [], "the idle cluster to go", 90)
    assert time.monotonic() - began > 15, "it had its idle time"


@pytest.mark.parametrize("end", ["deleted by force", "crashed"])
def test_a_cluster_goes_with_the_pod_of_its_driver(end: str, cluster: Kubectl) -> None:
    driver = f"driver-{uuid.uuid4().hex[:8]}"
    last = "os._exit(9)" if end == "crashed" else "time.sleep(600)"
    code = f"{HEAD}client = td.connect(settings(), timeout=120)\ntell(name=client.cluster.name)\n{last}\n"
    container = {
        "args": ["python", "-c", code],
        "env": [{"name": "TEST_IMAGE", "value": IMAGE}],
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
    }
    body = pod(driver, "driver", container=container, serviceAccountName="driver", automountServiceAccountToken=True)
    cluster.apply(body)
    made: Callable[[], str] = lambda: cluster("logs", driver, check=False)  # noqa: E731
    told = until(lambda: [line for line in made().splitlines() if line.startswith('{"name"')], "the driver", 180)
    name = json.loads(told[0])["name"]
    if end == "deleted by force":
        assert left(cluster, name) != []
        cluster("delete", "pod", driver, "--force", "--grace-period=0")
    until(lambda: left(cluster, name) == [], "the cluster to go with its driver", 120)


def test_a_worker_that_is_deleted_hands_over_what_it_holds(drive: Drivers, cluster: Kubectl, name: str) -> None:
    """As when a spot node is taken: SIGTERM, and the preStop hook before it."""
    driver = drive.start(f"""
with td.connect(settings(workers=2, cluster_name={name!r}), timeout=120) as client:
    futures = client.map(lambda i: bytes([i]) * 1000, range(20), pure=False)
    wait(futures)
    first = set(client.nthreads())
    tell(ready=True)
    until(lambda: len(client.nthreads()) == 2 and set(client.nthreads()) != first, "a new worker", 150)
    lost = client.run_on_scheduler(lambda dask_scheduler: [
        len(e["lost-computed-tasks"]) for _, e in dask_scheduler.get_events("all") if e["action"] == "remove-worker"])
    tell(lost=lost, kept=client.gather(futures) == [bytes([i]) * 1000 for i in range(20)])
""")
    assert drive.first(driver) == {"ready": True}
    pods = cluster.get("pods", "-l", f"dask.org/cluster-name={name},dask.org/component=worker")["items"]
    cluster("delete", "pod", pods[0]["metadata"]["name"], "--wait=false")
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    assert json.loads(out) == {"lost": [0], "kept": True}


def test_blocks_too_large_for_a_worker_are_an_error_and_smaller_ones_go_through(
    drive: Drivers, name: str, aws_servers: Any
) -> None:
    """The kernel, or the nanny before it, kills a worker that needs more memory than its pod has."""
    [broken, read] = drive(f"""
import pathlib, tempfile, uuid
from taxidask.storage import default_storage
os.environ.update({aws_servers.environment!r})
folder = f"s3://taxidask/memory-{{uuid.uuid4().hex[:8]}}"
url = f"{{folder}}/yellow_tripdata_2015-03.csv"
with tempfile.TemporaryDirectory() as scratch:
    [made] = td.make_sample(scratch, start="2015-03", trips_per_month=1_800_000)
    default_storage().write(url, pathlib.Path(made).read_bytes())
with td.connect(settings(cluster_name={name!r}, worker_memory="672MiB", worker_cpus=0.5), timeout=120) as client:
    lake = td.Lake(f"{{folder}}/lake")
    try:
        lake.ingest(url, block_size="256MiB")
    except TaxidaskError as error:
        tell(error=str(error))
    lake.ingest(url, block_size="8MiB")
    tell(rows=len(lake.trips(columns=["fare_amount"])) + len(lake.rejects()))
""")
    assert "4 workers died one after the other (memory limit 472.00 MiB)" in broken["error"]
    assert "bytes 0 to 268,435,456" in broken["error"]
    assert "smaller blocks (block_size)" in broken["error"]
    assert read == {"rows": 1_800_000}


def test_down_all_takes_ones_own_and_leaves_others(drive: Drivers, cluster: Kubectl, name: str) -> None:
    small = ("--image", IMAGE, "--workers", "0", "--worker-memory", "768MiB")
    assert drive.command("cluster", "up", name, *small).returncode == 2, "no workers are no cluster"
    drive(f"""
from taxidask.compute.kubernetes import look
look.up(settings(cluster_name={name!r}))
look.up(settings(cluster_name="{name}-other"))
""")
    cluster("label", "daskcluster", f"{name}-other", "taxidask/owner=somebody", "--overwrite")
    try:
        down = drive.command("cluster", "down", "--all", "--json")
        assert down.returncode == 0, down.stderr
        assert name in json.loads(down.stdout)
        assert left(cluster, name) == []
        assert left(cluster, f"{name}-other") != []
        listed = json.loads(drive.command("cluster", "status", "--json").stdout)
        assert f"{name}-other" in [row["name"] for row in listed]
    finally:
        assert drive.command("cluster", "down", f"{name}-other").returncode == 0
    assert left(cluster, f"{name}-other") == []
