"""The image as pods run it: uid 1000, nothing writable but /tmp and home, nothing that builds or installs."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from kube import IMAGE, Kubectl, pod

POD = "image-test"
LIMIT_GB = 1.5


@pytest.fixture(scope="module")
def inside(cluster: Kubectl) -> Kubectl:
    cluster.apply(pod(POD))
    cluster.wait_ready(POD)
    return cluster


def test_pod_is_nobody_and_writes_nowhere_else(inside: Kubectl) -> None:
    code = """
import json, os, pathlib
def writable(place):
    try:
        pathlib.Path(place, "probe").touch()
    except OSError:
        return False
    return True
places = ["/", "/opt/venv/bin", "/opt/taxidask", "/etc", "/var/tmp", "/home", "/tmp", "/home/taxidask"]
print(json.dumps([os.getuid(), os.getgid(), [place for place in places if writable(place)]]))
"""
    assert json.loads(inside.python(POD, code)) == [1000, 1000, ["/tmp", "/home/taxidask"]]


def test_nothing_installs_or_builds(inside: Kubectl) -> None:
    code = """
import importlib.util, json, os, shutil
tools = ["pip", "pip3", "gcc", "cc", "g++", "make", "ld", "git", "curl", "wget", "uv", "conda"]
tools += ["apt", "apt-get", "dpkg", "perl", "su", "mount", "passwd"]
modules = ["pip", "ensurepip", "setuptools", "wheel", "hatchling", "pytest", "kubernetes"]
places = ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local", "/opt"]
files = [os.path.join(folder, name) for place in places for folder, _, names in os.walk(place) for name in names]
others = [file for file in files if os.lstat(file).st_mode & 0o6000]
found = [[t for t in tools if shutil.which(t)], [m for m in modules if importlib.util.find_spec(m)], others]
print(json.dumps(found))
"""
    assert json.loads(inside.python(POD, code)) == [[], [], []]


def test_kernels_are_loaded_and_not_compiled(inside: Kubectl) -> None:
    said = inside("exec", POD, "--", "python", "/opt/taxidask/warm.py", "--all-loaded", seconds=120)
    assert said.strip().endswith(" kernels loaded, 0 compiled")
    assert int(said.split()[0]) > 10


def test_everything_starts_from_it(inside: Kubectl) -> None:
    for command in (
        ["taxidask", "--version"],
        ["dask", "scheduler", "--version"],
        ["dask", "worker", "--version"],
        ["kopf", "--version"],
        ["python", "-c", "import dask_kubernetes.operator.controller, taxidask.compute.kubernetes.operator"],
    ):
        inside("exec", POD, "--", *command)
    code = """
import json, subprocess, time, urllib.request
lab = subprocess.Popen(["jupyter", "lab", "--no-browser", "--port=8888", "--IdentityProvider.token=t"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(120):
        try:
            page = urllib.request.urlopen("http://127.0.0.1:8888/lab?token=t", timeout=5)
            print(page.status)
            break
        except OSError:
            time.sleep(0.5)
finally:
    lab.terminate()
    lab.wait(20)
"""
    assert inside.python(POD, code, seconds=120).strip() == "200"


def test_whole_job_on_local_files(inside: Kubectl) -> None:
    """Parser, models, store and the report's PDF, with nothing writable but emptyDirs."""
    inside("exec", POD, "--", "taxidask", "demo", "--trips", "20000", seconds=280)
    head = inside("exec", POD, "--", "head", "-c", "5", "/home/taxidask/taxidask-demo/report.pdf")
    assert head == "%PDF-"


def test_size_and_labels(cluster: Kubectl) -> None:
    def ask(*command: str) -> Any:
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    about = ask("buildah", "inspect", "--type", "image", IMAGE)
    assert about["OCIv1"]["config"]["Labels"]["org.opencontainers.image.title"] == "taxidask"
    number, unit = ask("buildah", "images", "--json", IMAGE)[0]["size"].split()
    assert unit == "GB"
    assert float(number) < LIMIT_GB
