"""The Kubernetes API as plain calls: kr8s knows how to log in, this says what went wrong."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import httpx
import kr8s

from taxidask.errors import ComputeError

REQUEST_SECONDS = 15.0

DASK = "kubernetes.dask.org/v1"
_VERSIONS = {
    "daskclusters": DASK,
    "daskworkergroups": DASK,
    "daskautoscalers": DASK,
    "pods": "v1",
    "events": "v1",
    "services": "v1",
    "secrets": "v1",
    "resourcequotas": "v1",
    "customresourcedefinitions": "apiextensions.k8s.io/v1",
    "selfsubjectaccessreviews": "authorization.k8s.io/v1",
    "selfsubjectreviews": "authentication.k8s.io/v1",
}
_CLUSTER_WIDE = {"customresourcedefinitions", "selfsubjectaccessreviews", "selfsubjectreviews"}


class ApiError(ComputeError):
    """The API server refused a call, or did not answer.

    Parameters
    ----------
    code : int
        The HTTP status; 0 if there was no answer.
    """

    def __init__(self, message: str, remedy: str | None = None, *, code: int = 0) -> None:
        super().__init__(message, remedy)
        self.code = code


class Kube:
    """The API server as seen from one namespace.

    Every call is one request with a deadline, made from a thread of its own, so it works with and without an event
    loop around. Objects are the dictionaries that the server sends.

    Parameters
    ----------
    namespace : str
        Where objects are looked for and made.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._api: Any = None

    def version(self) -> str:
        """What the server says it is, e.g. ``v1.35.4``."""
        return str(json.loads(self._request("GET", "", base="/version", what="the version"))["gitVersion"])

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object; :class:`ApiError` with code 404 if it is not there."""
        return json.loads(self._object("GET", kind, name))

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object, or None."""
        try:
            return self.get(kind, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: str, *, labels: str = "", fields: str = "") -> builtins.list[dict[str, Any]]:
        """All objects of a kind, by label and field selectors."""
        params = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        return json.loads(self._object("GET", kind, "", params=params))["items"]

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make an object; :class:`ApiError` with code 409 if there is one of that name."""
        return json.loads(self._object("POST", kind, "", content=json.dumps(body)))

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Merge `body` into an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return json.loads(self._object("PATCH", kind, name, content=json.dumps(body), headers=headers))

    def delete(self, kind: str, name: str, *, uid: str | None = None) -> bool:
        """Delete an object and what it owns; False if there was none, or, with `uid`, not this one any more."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self._object("DELETE", kind, name, content=json.dumps(body))
        except ApiError as error:
            if error.code in (404, 409):
                return False
            raise
        return True

    def log(self, pod: str, container: str, *, lines: int = 20, previous: bool = False) -> builtins.list[str]:
        """The last lines a container wrote; none if it wrote none or never ran."""
        params = {"container": container, "tailLines": str(lines), "previous": str(previous).lower()}
        try:
            return self._object("GET", "pods", f"{pod}/log", params=params).splitlines()
        except ApiError:
            return []

    def _object(self, method: str, kind: str, name: str, **options: Any) -> str:
        url = f"{kind}/{name}" if name else kind
        where = None if kind in _CLUSTER_WIDE else self.namespace
        place = f" in namespace {where}" if where else ""
        what = f"{method} {url}{place}"
        return self._request(method, url, version=_VERSIONS[kind], namespace=where, what=what, **options)

    def _request(self, method: str, url: str, *, what: str, **options: Any) -> str:
        options.setdefault("version", "")
        future = asyncio.run_coroutine_threadsafe(self._call(method, url, options), _loop())
        with _translated(what):
            try:
                return future.result(REQUEST_SECONDS + 5)
            except BaseException:
                future.cancel()
                raise

    async def _call(self, method: str, url: str, options: dict[str, Any]) -> str:
        if self._api is None:
            self._api = await asyncio.wait_for(kr8s.asyncio.api(namespace=self.namespace), REQUEST_SECONDS)
        async with self._api.call_api(method, url=url, timeout=REQUEST_SECONDS, **options) as response:
            return response.text


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except kr8s.ServerError as error:
        code = error.response.status_code if error.response is not None else 0
        message = f"the Kubernetes API answered {code} to {what}: {str(error).rstrip('.')}"
        raise ApiError(message, _REMEDIES.get(code), code=code) from error
    except (OSError, httpx.HTTPError, kr8s.APITimeoutError, FutureTimeout, TimeoutError) as error:
        told = str(error) or type(error).__name__
        raise ApiError(f"the Kubernetes API does not answer ({what}): {told}", UNREACHABLE) from error
    except (ValueError, TypeError, RuntimeError, KeyError) as error:  # a kubeconfig that is none, or whose login fails
        raise ApiError(f"cannot log in to Kubernetes: {error}", UNREACHABLE) from error


UNREACHABLE = (
    "outside the cluster, point KUBECONFIG at it and try `kubectl version`; inside, the pod needs a ServiceAccount "
    "whose token is mounted, and a NetworkPolicy that lets it reach the API server"
)
_REMEDIES = {
    401: "log in again: the credentials in KUBECONFIG or the ServiceAccount's token are not accepted",
    403: "bind the Role `driver` of k8s/base to this user or ServiceAccount",
}

_started: list[asyncio.AbstractEventLoop] = []
_starting = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        if not _started:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="taxidask-kubernetes", daemon=True).start()
            _started.append(loop)
    return _started[0]
