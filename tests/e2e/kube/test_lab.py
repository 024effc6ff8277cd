"""JupyterLab here with its kernels in the cluster, as the README says; a browser runs the notebook."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kube import ROOT, Kubectl, until
from playwright.sync_api import TimeoutError as Late
from playwright.sync_api import sync_playwright

pytestmark = pytest.mark.timeout(600)

NOTEBOOK = ROOT / "notebooks" / "02-on-pods.ipynb"
TOKEN = "of-this-test"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


@pytest.fixture
def gateway(cluster: Kubectl) -> Iterator[tuple[str, str]]:
    """Address and token of the JupyterLab that runs in the cluster."""
    cluster("scale", "deployment/lab", "--replicas=1")
    port = free_port()
    try:
        cluster("rollout", "status", "deployment/lab", "--timeout=150s", seconds=160)
        [token] = set(re.findall(r"token=([0-9a-f]+)", cluster("logs", "deployment/lab")))
        forward = cluster.start("port-forward", "deployment/lab", f"{port}:8888")
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/api"), "the port-forward", 30)
            yield f"http://127.0.0.1:{port}", token
        finally:
            forward.kill()
            forward.communicate()
    finally:
        cluster("scale", "deployment/lab", "--replicas=0")


def _copy_without_outputs(notebook: Path, folder: Path) -> None:
    """What was kept of an earlier run would look like a run."""
    content = json.loads(notebook.read_text())
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    (folder / notebook.name).write_text(json.dumps(content))


@pytest.fixture
def lab(gateway: tuple[str, str], tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The JupyterLab on this machine: its address, and the folder of its notebooks."""
    address, token = gateway
    _copy_without_outputs(NOTEBOOK, tmp_path)
    port = free_port()
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "KUBE", "JUPYTER", "TAXIDASK"))
    }
    command = [
        str(Path(sys.executable).with_name("jupyter")), "lab", "--allow-root", "--no-browser", f"--port={port}",
        f"--IdentityProvider.token={TOKEN}", f"--notebook-dir={tmp_path}", f"--gateway-url={address}",
    ]  # fmt: skip
    environment |= {"JUPYTER_GATEWAY_AUTH_TOKEN": token, "JUPYTER_CONFIG_DIR": str(tmp_path / ".jupyter")}
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as run:
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/api"), "JupyterLab on this machine", 180)
            yield f"http://127.0.0.1:{port}", tmp_path
        finally:
            run.terminate()
            run.wait(30)


def read(path: Path) -> list[dict[str, Any]]:
    """The cells with code."""
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_notebook_runs_in_the_cluster(lab: tuple[str, Path], cluster: Kubectl) -> None:
    address, folder = lab
    path = folder / NOTEBOOK.name
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        # JupyterLab connects to a kernel behind a gateway twice; with the first connection it may lose the word that
        # the kernel is ready, and waits for ever: whoever sees that loads the page again
        for left in (2, 1, 0):
            page.goto(f"{address}/lab/tree/{path.name}?token={TOKEN}", wait_until="domcontentloaded")
            try:
                page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=60_000)
                break
            except Late:
                if not left:
                    raise
        time.sleep(3)  # what is sent to the first connection is dropped
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        deadline = time.monotonic() + 420
        while not read(path)[-1]["execution_count"]:
            assert time.monotonic() < deadline, f"it did not end: {[cell['outputs'] for cell in read(path)]}"
            time.sleep(3)
            page.keyboard.press("Control+s")
        browser.close()
    cells = read(path)
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert "error" not in kinds, [o for cell in cells for o in cell["outputs"] if o["output_type"] == "error"]
    said = json.dumps(cells)
    assert "2 workers" in said
    assert "closed" in json.dumps(cells[-1]["outputs"])
    assert cluster.get("daskclusters")["items"] == []
