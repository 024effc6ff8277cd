"""Clusters of worker pods, by the dask-kubernetes operator.

A direct use of its custom resources rather than of its ``KubeCluster``: that class and its helpers connect by tcp:// in
several places, and its clean-up deletes clusters it has only connected to.
"""

from __future__ import annotations
