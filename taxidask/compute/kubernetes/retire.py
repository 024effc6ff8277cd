"""What a worker pod does before it is stopped: have its scheduler move what it holds, and close it.

Kubernetes runs it (``python -m``) as the pod's preStop hook, whoever stops the pod: a scale-down, a
node that is drained, a spot interruption. It never fails the pod: what is lost is computed again.
"""

from __future__ import annotations

import os
import socket
import sys

CONNECT_SECONDS = 3.0
RETIRE_SECONDS = 45.0


async def retire(address: str, name: str) -> bool:
    """Ask the scheduler at `address` to retire the worker `name`; True if it was one of its workers."""
    import asyncio

    from distributed import Security
    from distributed.core import rpc

    security = Security()  # from the pod's environment
    async with rpc(address, connection_args=security.get_connection_args("client")) as scheduler:
        retired = await asyncio.wait_for(
            scheduler.retire_workers(names=[name], close_workers=True, remove=False), RETIRE_SECONDS
        )
    return bool(retired)


def main() -> int:
    """Retire this pod's worker, as its environment says; 0 in any case."""
    address, name = os.environ.get("DASK_SCHEDULER_ADDRESS", ""), os.environ.get("DASK_WORKER_NAME", "")
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        # A cluster that is being deleted has no scheduler any more: find that out before the slow imports.
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        import asyncio

        retired = asyncio.run(retire(address, name))
        print(f"worker {name} {'retired' if retired else 'was unknown to its scheduler'}", file=sys.stderr)
    except Exception as error:
        print(f"worker {name} could not be retired at {address}: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
