"""`cluster.yaml` and `nodes.yaml` against the schemas of eksctl and Karpenter."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemas
import yaml

REMOVED = object()


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def changed(document: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    """A copy with one field set, or removed."""
    made = copy.deepcopy(document)
    *path, last = [int(key) if key.isdigit() else key for key in where.split("/")]
    inside: Any = made
    for key in path:
        inside = inside[key]
    if value is REMOVED:
        del inside[last]
    else:
        inside[last] = value
    return made


@pytest.mark.program("go")
def test_eksctl_knows_every_field_of_the_cluster(folder: Path) -> None:
    [config] = documents(folder / "cluster.yaml")
    assert schemas.eksctl(config) == []


@pytest.mark.program("go")
@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("vpc/publicAccessCidrs", ["0.0.0.0/0"]),
        ("vpc/nat/gateway", "One"),
        ("managedNodeGroups/0/minSize", "2"),
        ("managedNodeGroups/0/updateConfig/maxUnavailble", 1),
        ("addons/0/useDefaultPodIdentityAssociation", True),
        ("addons/0/name", REMOVED),
        ("cloudWatch/clusterLogging/enableTypes", ["audits"]),
        ("metadata/regions", "us-east-1"),
    ],
)
def test_a_wrong_field_of_the_cluster_is_found(folder: Path, where: str, value: Any) -> None:
    [config] = documents(folder / "cluster.yaml")
    assert schemas.eksctl(changed(config, where, value))


@pytest.mark.program("go")
@pytest.mark.parametrize("number", range(3))
def test_karpenter_knows_every_field_of_the_nodes(folder: Path, number: int) -> None:
    assert schemas.karpenter(documents(folder / "nodes.yaml")[number]) == []


@pytest.mark.program("go")
@pytest.mark.parametrize(
    ("number", "where", "value"),
    [
        (0, "apiVersion", "karpenter.sh/v1beta1"),
        (0, "spec/template/spec/expiresAfter", "Never"),
        (0, "spec/template/spec/expireAfter", "2 days"),
        (0, "spec/template/spec/requirements/0/operator", "Is"),
        (0, "spec/template/spec/taints/0/effect", REMOVED),
        (0, "spec/template/spec/nodeClassRef/name", REMOVED),
        (0, "spec/disruption/consolidationPolicy", "WhenIdle"),
        (0, "spec/disruption/budgets/0/nodes", "all"),
        (1, "spec/disruption/budgets/1/reasons", ["Expired"]),
        (1, "spec/weight", 101),
        (1, "spec/limits/cpu", [64]),
        (2, "spec/instanceProfiles", "taxidask-node"),
        (2, "spec/metadataOptions/httpTokens", "needed"),
        (2, "spec/blockDeviceMappings/0/ebs/volumeSize", "40 GB"),
        (2, "spec/subnetSelectorTerms", REMOVED),
    ],
)
def test_a_wrong_field_of_the_nodes_is_found(folder: Path, number: int, where: str, value: Any) -> None:
    assert schemas.karpenter(changed(documents(folder / "nodes.yaml")[number], where, value))


def test_fields_that_a_definition_leaves_open_stay_open() -> None:
    schema = schemas.closed({
        "properties": {
            "free": {"properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": True},
            "map": {"additionalProperties": {"properties": {"a": {"type": "string"}}}},
            "none": {"type": "string", "nullable": True},
            "number": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
        }
    })  # fmt: skip
    given = {"free": {"b": 1}, "map": {"x": {"b": 1}}, "none": None, "number": 1, "other": 1}
    errors = jsonschema.Draft202012Validator(schema).iter_errors(given)
    assert {(error.json_path, error.validator) for error in errors} == {
        ("$", "additionalProperties"),
        ("$.map.x", "additionalProperties"),
    }
