"""Holds the AWS calls that the package made in a test session against the roles of k8s/aws."""

from __future__ import annotations

import fnmatch
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aws_calls
import pytest
from aws_calls import Call

ROLES = Path(__file__).resolve().parents[1] / "k8s" / "aws" / "roles.yaml"

# calls of no pod, each with its reason
NOT_FOR_PODS = {
    "dynamodb:CreateTable": "home.yaml makes the table; `taxidask store create` is for tables without it",
    "dynamodb:DescribeTimeToLive": "as CreateTable",
    "dynamodb:UpdateTimeToLive": "as CreateTable",
    "s3:HeadBucket": "asked only where a bucket turned out to be in another region than the one that was asked",
}
# actions that no policy has to allow, each with its reason
FREE = {
    "sts:AssumeRoleWithWebIdentity": "the role's trust policy allows it",
    "sts:GetCallerIdentity": "AWS tells every identity who it is",
}


def refused(calls: Iterable[Call], roles: Path = ROLES) -> list[str]:
    """A line for each action that calls needed and that no role allows."""
    from cloudformation import Template, listed

    allowed = [
        pattern
        for _, statement in Template(roles, OidcIssuer="oidc.example/id/1").statements()
        if statement["Effect"] == "Allow" and "Resource" in statement
        for pattern in listed(statement["Action"])
    ]
    found: dict[str, str] = {}
    for call in calls:
        known = call.action in FREE or call.action in NOT_FOR_PODS
        if not known and not any(fnmatch.fnmatchcase(call.action, pattern) for pattern in allowed):
            by = "" if call.operation == call.action else f" (for {call.operation})"
            on = f" on {call.resource}" if call.resource else ""
            found.setdefault(call.action, f"{call.action}{by}{on}, called in {call.test or 'no test'}")
    return [found[action] for action in sorted(found)]


class Rights:
    """Of the process that runs the tests or, with pytest-xdist, hands them out: the others inherit its environment."""

    def __init__(self, roles: Path = ROLES) -> None:
        self._roles = roles
        self._folder = Path(tempfile.mkdtemp(prefix="aws-calls-"))
        self._file = self._folder / "calls.jsonl"
        self._refused: list[str] = []
        self._before = {name: os.environ.get(name) for name in (aws_calls.FILE, "PYTHONPATH")}
        self._file.touch()
        # Python runs a module of this name when it starts
        (self._folder / "sitecustomize.py").write_text(
            f"import sys\nsys.path.append({aws_calls.TESTS!r})\nimport aws_calls\nsys.path.pop()\naws_calls.install()\n"
        )
        os.environ[aws_calls.FILE] = str(self._file)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(self._folder), self._before["PYTHONPATH"]]))
        aws_calls.install()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._refused = refused(aws_calls.read(self._file), self._roles)
        if self._refused and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._refused:
            terminalreporter.section("AWS calls that no role allows", red=True, bold=True)
            for line in self._refused:
                terminalreporter.line(line, red=True)
            terminalreporter.line(
                f"Allow them in {self._roles}, or say in {Path(__file__).name} why no pod makes them."
            )

    def pytest_unconfigure(self) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(self._folder, ignore_errors=True)
