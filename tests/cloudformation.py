"""CloudFormation templates as tests see them: parsed, with what their functions give for chosen parameters.

A small part of CloudFormation: ``Ref``, ``Sub``, ``GetAtt``, ``If``, ``Equals`` and ``Not`` in YAML's short form.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aws_calls import ACCOUNT


@dataclass(frozen=True)
class Function:
    name: str
    value: Any


class _Loader(yaml.SafeLoader):
    pass


def _function(loader: yaml.Loader, suffix: str, node: yaml.Node) -> Function:
    if isinstance(node, yaml.ScalarNode):
        return Function(suffix, loader.construct_scalar(node))
    if isinstance(node, yaml.SequenceNode):
        return Function(suffix, loader.construct_sequence(node, deep=True))
    return Function(suffix, loader.construct_mapping(node, deep=True))


_Loader.add_multi_constructor("!", _function)


def load(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(), Loader=_Loader)


@dataclass(frozen=True)
class Lines:
    """A scalar of a file, with the text of its line."""

    value: str
    line: str
    number: int


def lines(path: Path) -> Iterator[tuple[tuple[str, ...], Lines]]:
    """Every scalar of a YAML file: the keys that lead to it, and where it is."""
    text = path.read_text().splitlines()

    def walk(node: yaml.Node, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Lines]]:
        if isinstance(node, yaml.ScalarNode):
            yield keys, Lines(node.value, text[node.start_mark.line], node.start_mark.line + 1)
        elif isinstance(node, yaml.SequenceNode):
            for child in node.value:
                yield from walk(child, keys)
        else:
            for key, child in node.value:
                yield from walk(child, (*keys, key.value))

    for document in yaml.compose_all(path.read_text(), Loader=_Loader):
        yield from walk(document, ())


class Template:
    """A template with its parameters given."""

    def __init__(self, path: Path, region: str = "us-east-1", **given: Any) -> None:
        self.body = load(path)
        self._names = {"AWS::AccountId": ACCOUNT, "AWS::Region": region, "AWS::Partition": "aws"}
        for name, parameter in self.body.get("Parameters", {}).items():
            self._names[name] = given.get(name, parameter.get("Default"))

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of the resources of a type that exist for these parameters."""
        return {
            name: self.resolve(resource.get("Properties", {}))
            for name, resource in self.body["Resources"].items()
            if resource["Type"] == kind and ("Condition" not in resource or self._holds(resource["Condition"]))
        }

    def resolve(self, value: Any) -> Any:
        if isinstance(value, dict):
            found = {key: self.resolve(entry) for key, entry in value.items()}
            return {key: entry for key, entry in found.items() if entry is not None}
        if isinstance(value, list):
            return [self.resolve(entry) for entry in value]
        if not isinstance(value, Function):
            return value
        if value.name == "Ref":
            return None if value.value == "AWS::NoValue" else self._name(value.value)
        if value.name == "Sub":
            return re.sub(r"\$\{([^}]+)\}", lambda match: str(self._name(match[1])), value.value)
        if value.name == "GetAtt":
            return self._name(value.value)
        if value.name == "If":
            condition, yes, no = value.value
            return self.resolve(yes if self._holds(condition) else no)
        if value.name == "Equals":
            return self.resolve(value.value[0]) == self.resolve(value.value[1])
        if value.name == "Not":
            return not self.resolve(value.value[0])
        raise NotImplementedError(value)

    def _holds(self, condition: str) -> bool:
        return bool(self.resolve(self.body["Conditions"][condition]))

    def _name(self, name: str) -> Any:
        if name in self._names:
            return self._names[name]
        resource, _, attribute = name.partition(".")
        properties = self.body["Resources"][resource].get("Properties", {})
        if resource == "Bucket":
            own = self.resolve(properties["BucketName"])
            return own if not attribute else f"arn:aws:s3:::{own}"
        return f"{resource}.{attribute}" if attribute else resource

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every statement of every policy of these parameters, with the name of the resource that has it."""

        def walk(value: Any) -> Iterator[dict[str, Any]]:
            if isinstance(value, str) and value.lstrip().startswith("{") and "Statement" in value:
                value = json.loads(value)
            if isinstance(value, dict):
                if "Effect" in value:
                    yield value
                for entry in value.values():
                    yield from walk(entry)
            elif isinstance(value, list):
                for entry in value:
                    yield from walk(entry)

        for name, resource in self.body["Resources"].items():
            for statement in walk(self.resolve(resource.get("Properties", {}))):
                yield name, statement

    def allows(self, role: str, action: str, resource: str) -> bool:
        """Whether a role's own policies allow an action on a resource."""
        return any(
            name == role
            and statement["Effect"] == "Allow"
            and any(fnmatch.fnmatchcase(action, pattern) for pattern in listed(statement["Action"]))
            and any(fnmatch.fnmatchcase(resource, pattern) for pattern in listed(statement.get("Resource", [])))
            for name, statement in self.statements()
        )


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
