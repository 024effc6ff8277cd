"""A warm process that drivers are forks of: what takes seconds to import is imported once.

Reads a JSON line for each driver, `order`, `log` and `end` (the files for what it says and how it ended), and answers
with its process id. A driver that was killed leaves no `end`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any


def warm(source: str) -> None:
    """Import and compile what drivers need, without a thread that would be missing in a fork."""
    import aiobotocore.httpsession  # noqa: F401
    import boto3  # noqa: F401
    import botocore.loaders
    import botocore.session
    import lightgbm  # noqa: F401
    import s3fs  # noqa: F401
    from chaos import small
    from chaos.driver import RANGE

    import taxidask.backtests
    import taxidask.results.dynamodb
    import taxidask.results.sqlite
    import taxidask.runs.pipeline  # noqa: F401
    from taxidask.compute.executors import ThreadExecutor
    from taxidask.lake import Lake

    small.make_small()
    loader = botocore.loaders.create_loader()
    for service in ("s3", "dynamodb"):
        for kind in ("service-2", "endpoint-rule-set-1", "paginators-1", "waiters-2"):
            with contextlib.suppress(Exception):
                loader.load_service_model(service, kind)
    for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration"):
        loader.load_data(name)
    loader.list_available_services("service-2")
    botocore.session.create_loader = lambda *args: loader
    lake = Lake("memory://warm")
    lake.ingest(source, block_size=RANGE, client=ThreadExecutor(1))
    lake.cube(), lake.trips(), lake.sources(), lake.rejects()


def fork(order: dict[str, Any], log: str, end: str) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((nothing, 0), (file, 1), (file, 2)):
            os.dup2(number, target)
        from chaos.driver import drive
        from chaos.reader import read

        ended = {"drive": drive, "read": read}[order["do"]](order)
        Path(end + ".tmp").write_text(json.dumps(ended))
        Path(end + ".tmp").rename(end)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)
    return 0


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are nobody's
    began = time.monotonic()
    warm(sys.argv[1])
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    print(json.dumps({"warm": round(time.monotonic() - began, 1), "threads": left}), file=answer, flush=True)
    for line in sys.stdin:
        print(json.dumps({"pid": fork(**json.loads(line))}), file=answer, flush=True)


if __name__ == "__main__":
    main()
