from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def normal(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement.strip(), maxsplit=1)[0].lower().replace("_", "-")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_is_in_step_with_pyproject(project: dict) -> None:
    text = (ROOT / "environment.yml").read_text()
    listed = {normal(line) for line in re.findall(r"^\s+- ([a-z][^:\n]*)$", text, re.MULTILINE)}
    wanted = {normal(requirement) for requirement in project["dependencies"]}
    assert listed - {"python", "pip", "conda-forge", "distributed"} == wanted
    assert f"python{project['requires-python']}" in text


def test_lock_pins_every_dependency_with_hashes_and_names_no_index(project: dict) -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)
    pinned = {normal(block): block for block in blocks if re.match(r"[A-Za-z0-9_.-]+==", block)}
    extras = [r for group in project["optional-dependencies"].values() for r in group]
    for requirement in project["dependencies"] + extras:
        assert normal(requirement) in pinned, f"{requirement} is not in requirements.lock"
    assert all("--hash=sha256:" in block for block in pinned.values())
    assert not re.search(r"https?://|--index-url|--extra-index-url|--find-links", text)


@pytest.mark.program("git")
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git knows the files of a clone, not those of an archive")
def test_no_file_names_a_package_registry() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    registry = re.compile(rb"pypi\.org|pythonhosted\.org|registry\.npmjs|anaconda\.org|repo1\.maven")
    named = [
        f.decode()
        for f in files
        if f and f != b"tests/test_packaging.py" and registry.search((ROOT / f.decode()).read_bytes())
    ]
    assert named == []


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_package_carries_the_taxi_zones(kind: str, tmp_path: Path) -> None:
    builders = pytest.importorskip(f"hatchling.builders.{kind}", reason="the build backend hatchling is not installed")
    builder = getattr(builders, f"{kind.capitalize()}Builder")
    [package] = builder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    if kind == "wheel":
        with zipfile.ZipFile(package) as file:
            content = file.read("taxidask/space/taxi_zones.geojson.zst")
    else:
        with tarfile.open(package) as file:
            [inside] = [one for one in file.getnames() if one.endswith("/taxidask/space/taxi_zones.geojson.zst")]
            content = file.extractfile(inside).read()
    assert content == (ROOT / "taxidask" / "space" / "taxi_zones.geojson.zst").read_bytes()


def test_import_stays_light() -> None:
    code = (
        "import sys, taxidask; print(sorted(set(sys.modules) & {'pandas', 'numba', 'distributed', 'panel', 'boto3'}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"


def test_public_names_exist() -> None:
    import taxidask as td

    for name in td.__all__:
        assert getattr(td, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lakes'"):
        td.lakes  # noqa: B018
