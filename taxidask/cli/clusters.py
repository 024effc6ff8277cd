"""Clusters of worker pods on Kubernetes."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from taxidask.cli.base import DONE, Json, cluster_app, dumps, output, settings_of
from taxidask.errors import SettingsError
from taxidask.progress import say

Namespace = Annotated[str | None, Parameter(help="Kubernetes namespace [settings: namespace].")]


@cluster_app.command
def up(
    name: str | None = None,
    *,
    workers: int | None = None,
    worker_memory: str | None = None,
    worker_cpus: float | None = None,
    image: str | None = None,
    idle_timeout: str | None = None,
    namespace: Namespace = None,
    adapt: Annotated[tuple[int, int] | None, Parameter(negative="")] = None,
    timeout: float = 300.0,
    json: Json = False,
) -> int:
    """Start a cluster, or find it by name; it stays until it is stopped or has been idle for too long.

    Example: `taxidask cluster up anna --workers 4 --adapt 1 8`

    Parameters
    ----------
    name
        What it is called [settings: cluster_name]; default: a name is made up and printed.
    adapt
        Fewest and most workers: the number follows the load.
    timeout
        Seconds until scheduler and workers have to be ready.
    """
    from taxidask.compute.kubernetes import look
    from taxidask.compute.kubernetes.cluster import check_limits
    from taxidask.compute.kubernetes.status import Status, show

    if adapt is not None:
        check_limits(*adapt)
    given = {"worker_memory": worker_memory, "worker_cpus": worker_cpus, "image": image, "idle_timeout": idle_timeout}
    settings = settings_of(compute="kubernetes", cluster_name=name, workers=workers, namespace=namespace, **given)
    show(status := Status(), sys.stderr)
    cluster = look.up(settings, timeout=timeout, status=status)
    if adapt is not None:
        cluster.adapt(minimum=adapt[0], maximum=adapt[1])
    elif workers is not None and not cluster.mine:
        cluster.scale(workers)
    told = look.describe(cluster, settings.prices, look.ask(cluster))
    output(dumps(told) if json else look.text(told))
    return DONE


@cluster_app.command
def status(name: str | None = None, *, namespace: Namespace = None, json: Json = False) -> int:
    """Pods, workers, memory, cost so far and dashboard address of one cluster, or of all in the namespace.

    Example: `taxidask cluster status anna`

    Parameters
    ----------
    name
        Which; default: all.
    """
    from taxidask.compute.kubernetes import look
    from taxidask.compute.kubernetes import start as clusters
    from taxidask.compute.kubernetes.api import Kube

    settings = settings_of(namespace=namespace)
    kube = Kube(settings.namespace)
    found = [clusters.find(name, kube)] if name else clusters.all_clusters(kube)
    told = [look.describe(cluster, settings.prices, look.ask(cluster)) for cluster in found]
    if json:
        print(dumps(told[0] if name else told))
    elif told:
        output("\n\n".join(map(look.text, told)))
    else:
        say(f"no clusters in namespace {settings.namespace}")
    return DONE


@cluster_app.command
def down(
    *names: str,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    anyones: Annotated[bool, Parameter(negative="")] = False,
    namespace: Namespace = None,
    json: Json = False,
) -> int:
    """Stop clusters and wait until their pods are gone.

    Example: `taxidask cluster down --all`

    Parameters
    ----------
    names
        Which.
    every
        All that this user started.
    anyones
        All in the namespace, whoever started them.
    """
    from taxidask.compute.kubernetes import look
    from taxidask.compute.kubernetes.api import Kube

    if bool(names) == (every or anyones):
        raise SettingsError("which clusters?", "name some, e.g. taxidask cluster down anna, or give --all")
    kube = Kube(settings_of(namespace=namespace).namespace)
    gone = look.down(kube, list(names), every=every, anyones=anyones, say=say)
    if json:
        print(dumps(gone))
    else:
        say(f"removed: {', '.join(gone)}" if gone else "there was nothing to remove")
    return DONE
