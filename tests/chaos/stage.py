"""Where a schedule is played: a lake, a store, the lines to them, and what copies between regions."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

from chaos import world
from chaos.replica import Delays, Replica
from chaos.schedule import SIDES, Driver, Schedule
from links import Link

import taxidask as td
from taxidask.storage import Storage

NAMES = {"east": "us-east-1", "west": "us-west-2"}
DISK = "24m"


def servers() -> dict[str, Any] | None:
    """The two regions of servers beside the checkout; None where they are not there."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "aws"
    if not folder.is_dir():
        return None
    text = subprocess.run(
        ["bash", "-c", ". ./env && export AWS_ROOT && env -0"], cwd=folder, check=True, capture_output=True
    ).stdout
    env = dict(entry.split("=", 1) for entry in text.decode().split("\0") if "=" in entry)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED")
    return {
        "east": {"s3": env["S3_EAST"], "dynamodb": env["DYNAMODB_EAST"]},
        "west": {"s3": env["S3_WEST"], "dynamodb": env["DYNAMODB_WEST"]},
        "root": Path(env["AWS_ROOT"]),
        "environment": {name: env[name] for name in names if name in env},
    }  # fmt: skip


class Stage:
    """Where a schedule is played: a lake, a store, and the lines to them."""

    def __init__(self, schedule: Schedule, folder: Path, home: Path, aws: dict[str, Any] | None) -> None:
        self.schedule, self.folder, self.home = schedule, folder, home
        self.name = f"chaos-{schedule.seed}-{uuid.uuid4().hex[:8]}"
        self.links: dict[tuple[str, str, str], Link] = {}
        self.disk: Path | None = None
        self.mounted = False
        self.replica: Replica | None = None
        self.aws = aws or {}
        if schedule.kind == "files":
            self.disk = home / "disk"
            self.disk.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self.disk)]
            self.mounted = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode
            self.root = str(folder / "trips") + "/"
            self.lake, self.store = str(self.disk / "lake"), f"sqlite:///{self.disk / 'results.db'}"
        else:
            self.sides = SIDES if schedule.kind == "regions" else SIDES[:1]
            self._prepare()

    def _prepare(self) -> None:
        for name, value in self.aws["environment"].items():
            os.environ[name] = value
        self.root = f"s3://{self.name}/trips/"
        self.lake, self.store = f"s3://{self.name}/lake", f"dynamodb://{self.name}"
        for side in self.sides:
            s3 = self.client("s3", side)
            s3.create_bucket(Bucket=self.bucket(side))
            for name in world.names(self.folder):
                s3.upload_file(str(self.folder / "trips" / name), self.bucket(side), f"trips/{name}")
            self.opened(side)[1].create()
        if len(self.sides) > 1:
            clients = {side: self.client("dynamodb", side) for side in self.sides}
            delays = Delays(share=self.schedule.late)
            self.replica = Replica(
                self.aws["root"], self.name, clients, self.schedule.seed, delays, self.schedule.removals
            )

    def bucket(self, side: str) -> str:
        return self.name if side == "east" else f"{self.name}-{side}"

    def client(self, service: str, side: str) -> Any:
        import boto3

        return boto3.client(service, endpoint_url=self.aws[side][service])

    def opened(self, side: str = "east") -> tuple[td.Lake, Any]:
        """Lake and store of one region, straight from its servers."""
        if self.schedule.kind == "files":
            return td.Lake(self.lake), td.open_store(self.store)
        storage = Storage(endpoint=self.aws[side]["s3"])
        lake = td.Lake(f"s3://{self.bucket(side)}/lake", storage=storage)
        return lake, td.open_store(self.store, endpoint=self.aws[side]["dynamodb"])

    def link(self, who: str, service: str, side: str) -> Link:
        """A line to a server: everybody has lines of their own, so that one alone can be cut off."""
        if (who, service, side) not in self.links:
            self.links[who, service, side] = Link(self.aws[side][service])
        return self.links[who, service, side]

    def environment(self, who: str) -> dict[str, str]:
        if self.schedule.kind == "files":
            return {}
        regions = self.regions(who)
        return {
            **self.aws["environment"],
            **({"TAXIDASK_REGIONS": json.dumps(regions)} if regions else {}),
            "AWS_ENDPOINT_URL_S3": self.link(who, "s3", "east").url,
            "AWS_ENDPOINT_URL_DYNAMODB": self.link(who, "dynamodb", "east").url,
        }

    def regions(self, who: str) -> list[dict[str, Any]]:
        """The setting `regions` as somebody has it."""
        if self.schedule.kind != "regions":
            return []
        home = f"s3://{self.name}"
        return [
            {
                "name": NAMES[side],
                "s3_endpoint": self.link(who, "s3", side).url,
                "dynamodb_endpoint": self.link(who, "dynamodb", side).url,
                **({"places": {home: f"s3://{self.bucket(side)}"}} if side != "east" else {}),
            }
            for side in self.sides
        ]

    def sources(self, numbers: tuple[int, ...] | None = None) -> list[str]:
        names = world.names(self.folder)
        return [self.root + names[number] for number in (range(len(names)) if numbers is None else numbers)]

    def order(self, driver: Driver, start: float, who: str) -> dict[str, Any]:
        more: dict[str, Any] = {"workers": driver.workers} if driver.workers else {}
        if regions := self.regions(who):
            more["regions"] = regions
        return {
            "do": "drive",
            "start": start + driver.at,
            "resume": driver.resume,
            "workers": driver.workers,
            "clock": driver.clock,
            "block": self.schedule.block,
            "environment": self.environment(who),
            "settings": world.settings(
                self.folder,
                str(self.home),
                self.sources(driver.sources),
                lake=self.lake,
                store=self.store,
                timeout=self.schedule.timeout,
                **more,
            ),
        }

    def close(self) -> None:
        if self.replica is not None:
            self.replica.close()
        for link in self.links.values():
            link.__exit__()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.disk)], check=True)
        if self.schedule.kind != "files":
            for side in self.sides:
                self._remove(side)

    def _remove(self, side: str) -> None:
        s3 = self.client("s3", side)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket(side)):
            keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
            if keys:
                s3.delete_objects(Bucket=self.bucket(side), Delete={"Objects": keys, "Quiet": True})
        for left in (self.aws["root"] / f"s3-{side}" / "objects" / self.bucket(side)).glob("*"):
            shutil.rmtree(left, ignore_errors=True)  # folders that copies were put into, which the server keeps
        with contextlib.suppress(Exception):
            s3.delete_bucket(Bucket=self.bucket(side))
        self.client("dynamodb", side).delete_table(TableName=self.name)
