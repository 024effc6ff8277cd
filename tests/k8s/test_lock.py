"""The image's part of requirements.lock: all of the package's dependencies, none of its tools."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("lock", ROOT / "k8s" / "image" / "lock.py")
lock = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lock)

LOCK = (ROOT / "requirements.lock").read_text()


def pinned(*roots: str) -> dict[str, str]:
    text = lock.part(LOCK, list(roots))
    return {lock.normal(name): version for name, version in re.findall(r"^(\S+?)==(\S+)", text, re.MULTILINE)}


def installed(requirement: str, seen: set[str]) -> set[str]:
    """What pip's own record of this environment says is needed."""
    wanted = Requirement(requirement)
    if (wanted.marker and not any(wanted.marker.evaluate({"extra": e}) for e in ("", *wanted.extras))) or (
        key := lock.normal(wanted.name)
    ) in seen:
        return seen
    seen.add(key)
    for child in metadata.requires(wanted.name) or []:
        marker = Requirement(child).marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
            installed(child.split(";")[0], seen)
    return seen


def test_part_holds_all_that_is_needed_here_and_no_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set(pinned(*project["dependencies"]))
    needed: set[str] = set()
    for dependency in project["dependencies"]:
        installed(dependency, needed)
    # of an installation's own tools some packages ask for, and the lock leaves them out
    assert needed - names - {"setuptools", "pip"} == set()
    assert names & {"pytest", "ruff", "mypy", "playwright", "polars", "duckdb", "hatchling", "uv"} == set()


def test_hashes_and_both_versions_stay() -> None:
    text = lock.part(LOCK, ["numpy"])
    assert text.count("numpy==") == LOCK.count("\nnumpy==") > 1
    assert text.count("--hash=sha256:") > 20
    assert "#" not in text


def test_unknown_package_is_named() -> None:
    with pytest.raises(SystemExit, match=r"no-such-thing is not in requirements\.lock"):
        lock.part(LOCK, ["no_such_thing>=1"])
