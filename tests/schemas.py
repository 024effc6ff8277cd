"""What Karpenter and eksctl accept: their own schemas, out of their Go modules, of which nothing is kept here."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = re.search(r"/karpenter-crd --version (\S+)", (ROOT / "README.md").read_text())[1]  # type: ignore[index]
KARPENTER = f"github.com/aws/karpenter-provider-aws@v{INSTALLED}"
# the newest that the checksum database knows; Go's modules of eksctl are not its releases
EKSCTL = "github.com/weaveworks/eksctl@v0.200.1-0.20250111135130-435cf341ad56"


@cache
def _module(name: str) -> bytes:
    """A Go module as a zip file, from wherever `go` gets modules here; its checksum is Go's to see to."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            answer = subprocess.run(
                ["go", "mod", "download", "-json", name], cwd=folder, env={**os.environ, "GOTOOLCHAIN": "local"},
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f"{name} was not there after two minutes")
    try:
        found = json.loads(answer.stdout)
    except ValueError:
        found = {"Error": answer.stderr.strip()}
    # a module that wants a newer Go than this one is not unpacked, but it is there, and its checksum was right
    if not Path(found.get("Zip", "")).is_file() or not found.get("Sum"):
        pytest.skip(f"{name} cannot be downloaded: {found.get('Error', 'no reason given')}")
    return Path(found["Zip"]).read_bytes()


def _files(name: str, pattern: str) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(_module(name))) as module:
        inside = {path.removeprefix(f"{name}/"): path for path in module.namelist()}
        found = [module.read(path).decode() for own, path in sorted(inside.items()) if re.fullmatch(pattern, own)]
    assert found, f"{name} has no {pattern}"
    return found


def definitions() -> list[dict[str, Any]]:
    """Karpenter's CustomResourceDefinitions, of the version that the README installs."""
    return [yaml.safe_load(text) for text in _files(KARPENTER, r"pkg/apis/crds/karpenter\.[^/]*\.yaml")]


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """An openAPIV3Schema as JSON schema: fields it does not name are errors, as for `kubectl apply`, which is strict.

    Rules in CEL (x-kubernetes-validations) are left to an API server.
    """
    made = dict(schema)
    if "properties" in schema:
        made["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
    if isinstance(schema.get("items"), dict):
        made["items"] = closed(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = closed(schema["additionalProperties"])
    elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-list-type") == "set":
        made["uniqueItems"] = True
    if schema.get("nullable"):
        made = {"anyOf": [made, {"type": "null"}]}
    return made


def karpenter(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with a NodePool or EC2NodeClass."""
    group, _, version = manifest["apiVersion"].partition("/")
    served = {
        one["name"]: one["schema"]["openAPIV3Schema"]
        for crd in definitions()
        if (crd["spec"]["group"], crd["spec"]["names"]["kind"]) == (group, manifest["kind"])
        for one in crd["spec"]["versions"]
        if one["served"]
    }
    if version not in served:
        return [f"{KARPENTER} has no {manifest['kind']} of {manifest['apiVersion']}"]
    return _errors(jsonschema.Draft202012Validator(closed(served[version])), manifest)


def eksctl(config: dict[str, Any]) -> list[str]:
    """What is wrong with a ClusterConfig; not its version of Kubernetes, which is newer than the schema."""
    [text] = _files(EKSCTL, r"pkg/apis/eksctl\.io/v1alpha5/assets/schema\.json")
    schema = json.loads(text)
    del schema["definitions"]["ClusterMeta"]["properties"]["version"]["enum"]
    return _errors(jsonschema.Draft7Validator(schema), config)


def _errors(validator: Any, document: Any) -> list[str]:
    return sorted(f"{error.json_path}: {error.message}" for error in validator.iter_errors(document))
