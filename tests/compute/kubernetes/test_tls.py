"""Certificates with a real scheduler and worker, and the hook that retires a worker."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import ssl
import subprocess
import sys
from pathlib import Path

import dask
import pytest
from distributed import Client, Scheduler, Security, Worker

from taxidask.compute.kubernetes.certificates import Certificates
from taxidask.compute.kubernetes.retire import retire


def members(certificates: Certificates) -> Security:
    pair = {"cert": certificates.cert, "key": certificates.key}
    return Security(
        require_encryption=True,
        tls_ca_file=certificates.ca,
        **{f"tls_{who}_{part}": text for who in ("scheduler", "worker", "client") for part, text in pair.items()},
    )


def new(name: str = "anna") -> Certificates:
    return Certificates.make(name, "taxidask", now=dt.datetime.now(dt.UTC))


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def test_who_has_the_certificates_is_let_in_and_nobody_else() -> None:
    certificates = new()
    inside = members(certificates)

    async def check() -> None:
        async with (
            Scheduler(protocol="tls", host="127.0.0.1", port=0, dashboard_address=":0", security=inside) as scheduler,
            Worker(scheduler.address, security=inside, name="one", nthreads=1, dashboard_address=":0"),
        ):
            assert scheduler.address.startswith("tls://")
            async with Client(scheduler.address, security=certificates.security(), asynchronous=True) as client:
                assert await client.submit(sum, [1, 2]) == 3
            others = new().security()  # of another cluster with the same name
            for address, security in ((scheduler.address, others), (scheduler.address.replace("tls", "tcp"), None)):
                with pytest.raises((OSError, TimeoutError)):
                    await Client(address, security=security, asynchronous=True, timeout=1)
            context = ssl.create_default_context(cadata=certificates.ca)
            context.check_hostname = False
            reader, writer = await asyncio.open_connection("127.0.0.1", scheduler.port, ssl=context)
            with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_REQUIRED|certificate required"):
                await asyncio.wait_for(reader.read(1), 5)
            writer.close()

    asyncio.run(check())


def test_the_hook_moves_what_a_worker_holds_and_closes_it(tmp_path: Path) -> None:
    certificates = new()
    inside = members(certificates)
    files = {part: str(tmp_path / part) for part in ("ca", "cert", "key")}
    for part, file in files.items():
        Path(file).write_text(getattr(certificates, part))
    config = {"ca-file": files["ca"], "client.cert": files["cert"], "client.key": files["key"]}

    async def check() -> None:
        async with (
            Scheduler(protocol="tls", host="127.0.0.1", port=0, dashboard_address=":0", security=inside) as scheduler,
            Worker(scheduler.address, security=inside, name="one", nthreads=1, dashboard_address=":0") as one,
            Worker(scheduler.address, security=inside, name="two", nthreads=1, dashboard_address=":0") as two,
            Client(scheduler.address, security=certificates.security(), asynchronous=True) as client,
        ):
            futures = await client.scatter(list(range(10)), workers=[one.address])
            assert set(one.data) == {future.key for future in futures}
            with dask.config.set({f"distributed.comm.tls.{name}": file for name, file in config.items()}):
                assert await retire(scheduler.address, "one") is True
            await asyncio.wait_for(one.finished(), 10)
            assert list(scheduler.workers) == [two.address]
            assert await client.gather(futures) == list(range(10))
            with dask.config.set({f"distributed.comm.tls.{name}": file for name, file in config.items()}):
                assert await retire(scheduler.address, "one") is False

    asyncio.run(check())


@pytest.mark.parametrize("address", ["", "tls://127.0.0.1:9", "nonsense"])
def test_the_hook_never_fails_a_pod(address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taxidask.compute.kubernetes.retire"],
        env={"DASK_SCHEDULER_ADDRESS": address, "DASK_WORKER_NAME": "one", "PATH": ""},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "worker one could not be retired" in done.stderr


def test_certificates_are_good_ones() -> None:
    from cryptography import x509

    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificates = Certificates.make("anna", "taxidask", now=now)
    cert = x509.load_pem_x509_certificate(certificates.cert.encode())
    assert cert.not_valid_before_utc < now < cert.not_valid_after_utc
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "anna-scheduler.taxidask" in names.get_values_for_type(x509.DNSName)
    context = ssl.create_default_context(cadata=certificates.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert new().key != new().key
