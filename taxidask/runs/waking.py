"""A queue of S3 events, whose messages are a reason to look, and nothing more."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from taxidask.credentials import hidden
from taxidask.words import escaped

POLL = 20  # seconds that a request waits at the queue, the most that SQS offers
BETWEEN = 1.0  # from one request to the next, whatever the queue answers
MOST = 1_000  # messages that wake one look; a month of small files comes at once
_BATCH = 10  # the most that SQS gives and takes


class Queue:
    """An SQS queue that is listened to between looks.

    What a message says is not read: which files there are, and which are new, a look at the listing finds out. So a
    message that is lost is made good by the next look, and one that comes twice, late, or of something else costs a
    look. Messages are deleted once the look that they woke is over: if it failed or the process ended, they come again.

    Parameters
    ----------
    url : str
        Of the queue; it names the server that is asked.
    say : callable
        Told what goes wrong, once for each time that it begins to.
    """

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        self.url, self._say = url, say
        self._held: list[str] = []  # receipts of the messages that woke
        self._silent = False

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        address = urlsplit(self.url)
        named = re.fullmatch(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", address.hostname or "")
        session = boto3.session.Session()
        return session.client(
            "sqs",
            region_name=named[1] if named else session.region_name or "us-east-1",
            endpoint_url=f"{address.scheme}://{address.netloc}",
            config=Config(
                connect_timeout=5, read_timeout=POLL + 10, retries={"total_max_attempts": 2, "mode": "standard"}
            ),
        )

    def wait(self, seconds: float, stopped: threading.Event) -> None:
        """Wait so long, or until a message comes, or until `stopped`, which is seen within `POLL` seconds.

        Where the queue does not answer the time is waited all the same.
        """
        until = time.monotonic() + seconds
        self._held = []  # those of a look that failed come again
        while (left := until - time.monotonic()) > 0 and not stopped.is_set():
            began = time.monotonic()
            try:
                if self._receive(min(POLL, round(left))):
                    while len(self._held) < MOST and self._receive(0):
                        pass
                    return
            except (BotoCoreError, ClientError) as error:
                self._tell(error)
                if self._held:
                    return
                break
            stopped.wait(max(0.0, min(began + BETWEEN, until) - time.monotonic()))
        stopped.wait(max(0.0, until - time.monotonic()))

    def looked(self) -> None:
        """Delete the messages that woke, as what they were of has been looked at."""
        held, self._held = self._held, []
        try:
            for at in range(0, len(held), _BATCH):
                entries = [
                    {"Id": str(number), "ReceiptHandle": receipt}
                    for number, receipt in enumerate(held[at : at + _BATCH])
                ]
                # one that was not deleted wakes another look
                self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)
        except (BotoCoreError, ClientError) as error:
            self._tell(error)

    def _receive(self, seconds: int) -> bool:
        answer = self._client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=seconds)
        if self._silent:
            self._silent = False
            self._say(f"the queue {escaped(self.url)} answers again")
        messages = answer.get("Messages") or []
        self._held += [message["ReceiptHandle"] for message in messages]
        return bool(messages)

    def _tell(self, error: Exception) -> None:
        if not self._silent:
            why = escaped(hidden(str(error)))
            self._say(f"the queue {escaped(self.url)} cannot be used, and looks go on without it: {why}")
        self._silent = True
