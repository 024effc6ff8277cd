"""The README's part on EKS, as far as its commands can be checked without an account."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from cloudformation import Template

from taxidask.settings import Region
from taxidask.storage.regions import Regions

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.search(r"(?ms)^## On EKS\n(.*?)^## ", (ROOT / "README.md").read_text())[1]  # type: ignore[index]
COMMANDS = "\n".join(re.findall(r"(?ms)^```bash\n(.*?)^```", SECTION))


def stacks() -> list[tuple[str, str, str, set[str]]]:
    """Stack, template, region and parameters of each `deploy` line."""
    found = re.findall(r"(?m)^deploy (\S+) (\S+\.yaml) (\S+) (.*)$", COMMANDS)
    return [
        (stack, file, region, {word.partition("=")[0] for word in rest.split()}) for stack, file, region, rest in found
    ]


def test_commands_are_bash() -> None:
    checked = subprocess.run(["bash", "-n"], input=COMMANDS, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr


def test_each_stack_gets_parameters_that_its_template_has() -> None:
    assert {file for _, file, _, _ in stacks()} == {"bucket.yaml", "home.yaml", "platform.yaml", "roles.yaml"}
    for stack, file, _, given in stacks():
        parameters = Template(ROOT / "k8s" / "aws" / file).body["Parameters"]
        assert given <= set(parameters), stack
        assert given >= {name for name, parameter in parameters.items() if "Default" not in parameter}, stack


def test_what_is_made_is_taken_away_again() -> None:
    back = COMMANDS[COMMANDS.index("cluster down") :]
    for stack in {stack for stack, *_ in stacks()}:
        assert stack in back
    for made, gone in (("eksctl create cluster", "eksctl delete cluster"), ("kubectl apply -k", "kubectl delete -k"),
                       ("--target-table-name $RESTORED", "for table in taxidask $RESTORED;")):  # fmt: skip
        assert made in COMMANDS
        assert gone in back
    charts = re.findall(r"(?m)^helm upgrade --install (\S+) oci://\S+/(\S+) --version (\S+)", COMMANDS)
    assert [name for name, *_ in charts] == [chart for _, chart, _ in charts] == ["karpenter-crd", "karpenter"]
    assert len({version for *_, version in charts}) == 1
    assert re.search(r"(?m)^helm uninstall karpenter karpenter-crd ", back)


def test_files_and_names_exist() -> None:
    for path in re.findall(r"k8s/[\w./-]+\.yaml", SECTION):
        assert (ROOT / path).is_file(), path
    (pools, _, nodes) = yaml.safe_load_all((ROOT / "k8s" / "aws" / "nodes.yaml").read_text())
    assert pools["kind"] == "NodePool"
    assert nodes["kind"] == "EC2NodeClass"
    platform = Template(ROOT / "k8s" / "aws" / "platform.yaml")
    (queue,) = platform.resources("AWS::SQS::Queue").values()
    assert f"settings.interruptionQueue={queue['QueueName']}" in COMMANDS
    role = platform.resources("AWS::IAM::Role")["Karpenter"]["RoleName"]
    assert f":role/{role}" in COMMANDS


def test_the_overlay_names_what_the_templates_make() -> None:
    overlay = ROOT / "k8s" / "overlays" / "eks"
    text = "".join(path.read_text() for path in sorted(overlay.glob("*.yaml")))
    roles = Template(ROOT / "k8s" / "aws" / "roles.yaml", OidcIssuer="oidc.example/id/1").resources("AWS::IAM::Role")
    bucket = Template(ROOT / "k8s" / "aws" / "bucket.yaml").resources("AWS::S3::Bucket")["Bucket"]["BucketName"]
    for properties in roles.values():
        assert f":role/{properties['RoleName']}" in text
    for folder in ("trips", "lake", "reports"):
        assert f"s3://{bucket}/{folder}" in text
    assert "dkr.ecr.us-east-1.amazonaws.com/taxidask" in text
    settings = yaml.safe_load((overlay / "settings.yaml").read_text())["data"]
    (queue,) = Template(ROOT / "k8s" / "aws" / "bucket.yaml").resources("AWS::SQS::Queue").values()
    assert settings["TAXIDASK_QUEUE"] == f"https://sqs.us-east-1.amazonaws.com/111122223333/{queue['QueueName']}"
    home, other = json.loads(settings["TAXIDASK_REGIONS"])
    there = Template(ROOT / "k8s" / "aws" / "bucket.yaml", region=other["name"]).resources("AWS::S3::Bucket")
    assert home == {"name": settings["AWS_DEFAULT_REGION"]}
    assert other["places"] == {f"s3://{bucket}": f"s3://{there['Bucket']['BucketName']}"}
    regions = Regions([Region(**home), Region(**other)])
    for name in ("SOURCES", "LAKE", "REPORT"):  # each has a counterpart in the other bucket
        url = settings[f"TAXIDASK_{name}"]
        assert regions.counterpart(url, regions.regions[1]) == url.replace(bucket, there["Bucket"]["BucketName"])


@pytest.mark.parametrize(("home", "other"), [("us-east-1", "us-west-2"), ("us-west-2", "us-east-1"), ("a", "b")])
def test_the_overlay_gets_the_regions_that_were_chosen(home: str, other: str, tmp_path: Path) -> None:
    for path in ("k8s/aws/cluster.yaml", "k8s/overlays/eks/settings.yaml"):
        (tmp_path / path).parent.mkdir(parents=True)
        shutil.copy(ROOT / path, tmp_path / path)
    (line,) = re.findall(r"(?m)^sed -i .*AWS_REGION/.*$", COMMANDS)
    variables = {"AWS_REGION": home, "OTHER": other, "PATH": os.environ["PATH"]}
    subprocess.run(["bash", "-ec", line], cwd=tmp_path, env=variables, check=True, timeout=30)
    settings = yaml.safe_load((tmp_path / "k8s/overlays/eks/settings.yaml").read_text())["data"]
    assert settings["AWS_DEFAULT_REGION"] == home
    assert settings["TAXIDASK_LAKE"] == f"s3://taxidask-111122223333-{home}/lake"
    found = {region["name"]: region.get("places") for region in json.loads(settings["TAXIDASK_REGIONS"])}
    buckets = {f"s3://taxidask-111122223333-{home}": f"s3://taxidask-111122223333-{other}"}
    assert found == {home: None, other: buckets}
    assert yaml.safe_load((tmp_path / "k8s/aws/cluster.yaml").read_text())["metadata"]["region"] == home


def test_the_arithmetic_of_the_full_history() -> None:
    gigabytes, blocks = 266, 3964
    assert -(-gigabytes * 10**9 // (64 << 20)) == pytest.approx(blocks, abs=1)
    assert f"= {gigabytes} GB as CSV" in SECTION
    assert f"{blocks:,}" in SECTION
    assert "= 170 s" in SECTION
    assert gigabytes * 1000 / (32 * 49) == pytest.approx(170, abs=1)
    from taxidask import Settings
    from taxidask.runs import cost

    settings = Settings(compute="kubernetes", lake="s3://b/lake", store="dynamodb://taxidask")
    guess = cost.estimate(
        settings, bytes_to_read=gigabytes * 10**9, blocks=blocks, sources=192, months=192, cells=263, cores=32
    )
    assert f"one region's table: {guess.usd:.2f}" in SECTION
    assert "= 0.02" in SECTION
    items = 263 * (28 + 2 * 2) + 5_844
    assert f"= {round(items, -2):,} units" in SECTION
    assert guess.writes == pytest.approx(items + 2_100, rel=0.05)
    assert (f"{guess.puts:,} puts" in SECTION, f"{guess.gets:,} gets" in SECTION) == (True, True)
    parts = [0.100, 0.201, 0.050, 0.019, 0.006]
    for part in parts:
        assert f"| {part:.3f} |" in SECTION
    assert f"= {sum(parts[-2:]):.3f} an hour" in SECTION
    machines, table = 3 * 0.192 / 4, 2 * guess.writes * 0.625e-6
    assert -(-8 // 3) == 3
    assert f"=\n{machines:.2f}, the table's items as below = {table:.2f}, together {machines + table:.2f}" in SECTION
    assert f"or {(machines + table) * 30:.0f} in 30 days" in SECTION
    assert f"about {machines + table:.2f} USD each time" in SECTION
    assert f"an hour: {sum(parts):.2f}, or {round(sum(parts) * 730 / 5) * 5} a month" in SECTION
