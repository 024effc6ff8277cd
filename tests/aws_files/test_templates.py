"""The CloudFormation templates, the cluster and its nodes: what they promise, read from the files."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloudformation import Template, lines

from taxidask.results import dynamodb

TEMPLATES = ["bucket.yaml", "home.yaml", "platform.yaml", "roles.yaml"]


def test_templates_are_all_tested(folder: Path) -> None:
    named = [path.name for path in folder.glob("*.yaml") if "AWSTemplateFormatVersion" in path.read_text()]
    assert sorted(named) == TEMPLATES


def test_cfn_lint_finds_nothing(folder: Path) -> None:
    if importlib.util.find_spec("cfnlint"):
        command = [sys.executable, "-c", "from cfnlint.runner import main; main()"]
    elif found := shutil.which("cfn-lint"):
        command = [found]
    else:
        pytest.skip("needs cfn-lint, which is neither in this environment nor on PATH")
    linted = subprocess.run(
        [*command, "--include-checks", "I", "--", *(folder / name for name in TEMPLATES)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("name", [*TEMPLATES, "cluster.yaml", "nodes.yaml"])
def test_no_account_number_and_no_yaml_that_cloudformation_lacks(folder: Path, name: str) -> None:
    text = (folder / name).read_text()
    assert not re.search(r"\b\d{12}\b", text)
    assert not re.search(r"(?m)^[^#]*:\s+[&*]\w", text), "CloudFormation knows no anchors and aliases"


# --- buckets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
def test_each_bucket_keeps_versions_is_encrypted_and_closed(folder: Path, region: str) -> None:
    other = {"us-east-1": "us-west-2", "us-west-2": "us-east-1"}[region]
    template = Template(folder / "bucket.yaml", region, OtherRegion=other)
    ((_, bucket),) = template.resources("AWS::S3::Bucket").items()
    assert bucket["BucketName"] == f"taxidask-111122223333-{region}"
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    assert any("NoncurrentVersionExpiration" in rule for rule in rules)
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)


def test_each_bucket_sends_its_changes_to_the_other(folder: Path) -> None:
    for region, other in (("us-east-1", "us-west-2"), ("us-west-2", "us-east-1")):
        template = Template(folder / "bucket.yaml", region, OtherRegion=other)
        twin = Template(folder / "bucket.yaml", other).resources("AWS::S3::Bucket")["Bucket"]["BucketName"]
        rules = template.resources("AWS::S3::Bucket")["Bucket"]["ReplicationConfiguration"]["Rules"]
        assert {rule["Status"] for rule in rules} == {"Enabled"}
        assert len({rule["Priority"] for rule in rules}) == len(rules)
        assert {rule["Destination"]["Bucket"] for rule in rules} == {f"arn:aws:s3:::{twin}"}
        # what one region clears in the lake, a manifest of the other may name
        assert {rule["Filter"]["Prefix"]: rule["DeleteMarkerReplication"]["Status"] for rule in rules} == {
            "lake/": "Disabled", "trips/": "Enabled", "reports/": "Enabled",
        }  # fmt: skip
        assert template.allows("ReplicationRole", "s3:ReplicateObject", f"arn:aws:s3:::{twin}/lake/x")
        role = template.resources("AWS::IAM::Role")["ReplicationRole"]
        # as AWS documents it
        assert role["AssumeRolePolicyDocument"]["Statement"] == [
            {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]


def test_a_first_bucket_waits_for_no_twin(folder: Path) -> None:
    template = Template(folder / "bucket.yaml")
    assert "ReplicationConfiguration" not in template.resources("AWS::S3::Bucket")["Bucket"]
    assert template.resources("AWS::IAM::Role") == {}


def test_nobody_reaches_a_bucket_or_the_queue_without_tls(folder: Path) -> None:
    for name, policies in (
        ("bucket.yaml", {"BucketPolicy", "FilesPolicy"}),
        ("platform.yaml", {"InterruptionsPolicy"}),
    ):
        refusals = [(owner, s) for owner, s in Template(folder / name).statements() if s["Effect"] == "Deny"]
        plain = {owner for owner, s in refusals if s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}}
        assert plain == policies


def test_the_queue_hears_of_new_files_from_its_bucket_alone(folder: Path) -> None:
    template = Template(folder / "bucket.yaml", "us-west-2")
    (bucket,) = template.resources("AWS::S3::Bucket").values()
    (told,) = bucket["NotificationConfiguration"]["QueueConfigurations"]
    assert (told["Event"], told["Queue"]) == ("s3:ObjectCreated:*", "Files.Arn")
    # not of the lake: what a run writes would wake the watch that made it
    assert told["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": "trips/"}]
    assert template.resources("AWS::SQS::Queue")["Files"]["QueueName"] == "taxidask-files"
    assert template.body["Resources"]["Bucket"]["DependsOn"] == "FilesPolicy"
    statements = [one for name, one in template.statements() if name == "FilesPolicy"]
    assert {one["Resource"] for one in statements} == {"Files.Arn"}
    (sends,) = (one for one in statements if one["Effect"] == "Allow")
    assert (sends["Principal"], sends["Action"]) == ({"Service": "s3.amazonaws.com"}, "sqs:SendMessage")
    assert sends["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{bucket['BucketName']}"},
        "StringEquals": {"aws:SourceAccount": "111122223333"},
    }


# --- table and registry ----------------------------------------------------------------------------------------------


def test_the_table_is_the_one_that_the_store_makes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = Template(folder / "home.yaml").resources("AWS::DynamoDB::GlobalTable").values()
    made: dict[str, Any] = {}

    class Client:
        def create_table(self, **request: Any) -> dict[str, Any]:
            made.update(request)
            raise KeyboardInterrupt

        def close(self) -> None:
            """Nothing is open."""

    store = dynamodb.DynamoDBStore("taxidask", url="dynamodb://taxidask")
    monkeypatch.setattr(dynamodb.DynamoDBStore, "_client", property(lambda _: Client()))
    monkeypatch.setattr(store, "_describe", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        store.create()
    for name in ("TableName", "KeySchema", "AttributeDefinitions", "BillingMode"):
        assert table[name] == made[name]
    assert table["TimeToLiveSpecification"] == {"AttributeName": dynamodb._TTL, "Enabled": True}
    assert {replica["TableClass"] for replica in table["Replicas"]} == {made["TableClass"]}


def test_the_table_is_in_two_regions_and_can_be_had_back(folder: Path) -> None:
    (table,) = Template(folder / "home.yaml").resources("AWS::DynamoDB::GlobalTable").values()
    assert [replica["Region"] for replica in table["Replicas"]] == ["us-east-1", "us-west-2"]
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    for replica in table["Replicas"]:
        assert replica["DeletionProtectionEnabled"] == "true"
        assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_data_outlives_its_stack(folder: Path) -> None:
    for name, resource in (("bucket.yaml", "Bucket"), ("home.yaml", "Results")):
        assert Template(folder / name).body["Resources"][resource]["DeletionPolicy"] == "Retain"


def test_images_are_scanned_and_tags_never_move(folder: Path) -> None:
    (images,) = Template(folder / "home.yaml").resources("AWS::ECR::Repository").values()
    assert images["ImageTagMutability"] == "IMMUTABLE"
    assert images["ImageScanningConfiguration"] == {"ScanOnPush": True}
    (rule,) = json.loads(images["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert rule["action"] == {"type": "expire"}


# --- cluster and nodes -----------------------------------------------------------------------------------------------


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_the_cluster_has_zones_roles_for_pods_and_network_policies(folder: Path) -> None:
    (cluster,) = documents(folder / "cluster.yaml")
    assert len(cluster["availabilityZones"]) >= 3
    assert {zone[:-1] for zone in cluster["availabilityZones"]} == {cluster["metadata"]["region"]}
    assert cluster["iam"]["withOIDC"] is True
    addons = {addon["name"]: addon for addon in cluster["addons"]}
    assert json.loads(addons["vpc-cni"]["configurationValues"]) == {"enableNetworkPolicy": "true"}
    assert {"coredns", "kube-proxy", "metrics-server"} <= set(addons)
    (group,) = cluster["managedNodeGroups"]
    assert group["minSize"] >= 2
    assert group["privateNetworking"]
    assert group["volumeEncrypted"]


def pools(folder: Path) -> dict[str, dict[str, Any]]:
    found = documents(folder / "nodes.yaml")
    return {pool["metadata"]["name"]: pool["spec"] for pool in found if pool["kind"] == "NodePool"}


def capacity(pool: dict[str, Any]) -> list[str]:
    (values,) = [
        entry["values"]
        for entry in pool["template"]["spec"]["requirements"]
        if entry["key"] == "karpenter.sh/capacity-type"
    ]
    return values


def test_only_worker_pods_get_spot(folder: Path) -> None:
    assert capacity(pools(folder)["workers"]) == ["spot"]
    assert capacity(pools(folder)["steady"]) == ["on-demand"]
    (taint,) = pools(folder)["workers"]["template"]["spec"]["taints"]
    assert taint["effect"] == "NoSchedule"
    assert "taints" not in pools(folder)["steady"]["template"]["spec"]


def test_a_node_with_work_on_it_stays(folder: Path) -> None:
    for pool in pools(folder).values():
        assert pool["disruption"]["consolidationPolicy"] == "WhenEmpty"
        assert {"nodes": "0", "reasons": ["Drifted", "Underutilized"]} in pool["disruption"]["budgets"]
        assert pool["template"]["spec"]["expireAfter"] == "Never"
        assert int(pool["limits"]["cpu"]) > 0


def test_names_are_the_same_in_all_files(folder: Path) -> None:
    (cluster,) = documents(folder / "cluster.yaml")
    name = cluster["metadata"]["name"]
    platform = Template(folder / "platform.yaml")
    assert platform.body["Parameters"]["Cluster"]["Default"] == name
    (profile,) = platform.resources("AWS::IAM::InstanceProfile").values()
    (node_class,) = [found for found in documents(folder / "nodes.yaml") if found["kind"] == "EC2NodeClass"]
    assert node_class["spec"]["instanceProfile"] == profile["InstanceProfileName"]
    for pool in pools(folder).values():
        assert pool["template"]["spec"]["nodeClassRef"]["name"] == node_class["metadata"]["name"]
    assert cluster["metadata"]["tags"]["karpenter.sh/discovery"] == name
    for term in (*node_class["spec"]["subnetSelectorTerms"], *node_class["spec"]["securityGroupSelectorTerms"]):
        assert term["tags"]["karpenter.sh/discovery"] == name
    assert cluster["metadata"]["region"] == "us-east-1"


def test_every_value_has_a_line(folder: Path) -> None:
    """The reader behind the test of wildcards misses nothing."""
    path = folder / "roles.yaml"
    found = [line.value for _, line in lines(path)]
    text = path.read_text()
    assert found.count("s3:PutObject") == len(re.findall(r"(?m)^ +- s3:PutObject$", text)) > 1
    assert sum("/lake/*" in value for value in found) == len(re.findall(r"(?m)^ +- !Sub .*/lake/\*", text)) > 1
