"""No password and no token in what is said or kept, whichever way a URL comes in."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import taxidask as td
from taxidask.credentials import credential_in, hidden
from taxidask.progress import say
from taxidask.storage import Storage
from taxidask.storage.errors import explained

URLS = [
    "s3://k:SECRET@bucket/lake",
    "s3://k:SEC/RET@bucket/lake",
    "s3://SECRET@bucket/lake",
    "https://me:SECRET@host/trips.csv",
    "https://host/trips.csv?token=SECRET",
    "s3://bucket/trips.csv?X-Amz-Security-Token=SECRET&X-Amz-Signature=SECRET",
    "s3://bucket/trips.csv?AWSAccessKeyId=SECRET",
    "s3://bucket/trips.csv?a=1&sig=SECRET",
    "s3://bucket/trips.csv#access_token=SECRET",
    "s3://bucket/trips.csv?%74oken=SECRET",
    "s3://k%3ASECRET%40bucket/lake",
    "dynamodb://taxidask?endpoint=http://me:SECRET@host",
    "dynamodb://taxidask?token=SECRET",
    "sqlite:///taxidask.db?password=SECRET",
    "postgres://me:SECRET@host/db",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_with_a_credential_is_refused_everywhere_without_being_shown(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = [
        td.Lake,
        td.read_trips,
        td.count_trips,
        td.Zones,
        td.open_store,
        td.DemandModel.load,
        td.FareModel.load,
        lambda url: td.open_store("dynamodb://taxidask", endpoint=url),
        lambda url: td.Lake("lake").ingest([url]),
        lambda url: td.Lake("lake").recount(space=url),
        lambda url: td.make_sample(url, start="2015-03", trips_per_month=10),
        lambda url: td.load_settings(sources=[url]),
        lambda url: td.load_settings(report=url),
        lambda url: td.load_settings(regions=[{"name": "us-east-1", "s3_endpoint": url}]),
        lambda url: td.Settings(store=url),
        lambda url: td.connect(url),
        lambda url: Storage().read(url),
        lambda url: Storage(endpoint=url),
    ]
    for call in calls:
        with pytest.raises(td.TaxidaskError) as caught:
            call(url)
        said = [str(caught.value), repr(caught.value), str(pickle.loads(pickle.dumps(caught.value)))]
        assert not any("SEC" in text for text in said), said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/yellow_2015-0?.csv",
        "s3://bucket/a:b@c.csv",
        "s3://bucket/key=2015/part.parquet",
        "dynamodb://taxidask?region=us-east-1&endpoint=http://127.0.0.1:8101&ttl_days=90",
        "sqlite:////data/me@home.db",
        "tcp://127.0.0.1:8786",
        "/data/a:b@c.csv?token=1",
        "registry:5000/taxidask@sha256:0a1b",
    ],
)
def test_what_only_looks_like_one_is_none(url: str) -> None:
    assert credential_in(url) is None
    assert hidden(f"cannot read {url}: gone") == f"cannot read {url}: gone"


def test_what_others_say_is_shown_without_their_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConnectionError("Could not connect to http://me:SECRET@127.0.0.1:9/?X-Amz-Signature=SECRET")
    told = explained(error, "read", "s3://bucket/a", needs=0, attempts=1)
    assert "http://…@127.0.0.1:9/?X-Amz-Signature=…" in str(told)
    say(str(error))
    assert "SECRET" not in str(told) + capsys.readouterr().err


def test_a_field_that_does_not_belong_is_named_without_its_value() -> None:
    for given in ({"name": "us-east-1", "secret_access_key": "SECRET"}, '[{"name": "a", "secret": "SECRET"'):
        with pytest.raises(td.TaxidaskError, match="regions") as caught:
            td.load_settings(regions=given if isinstance(given, str) else [given])
        assert "SECRET" not in str(caught.value)
    with pytest.raises(td.TaxidaskError, match="aws_secret_access_key") as caught:
        td.load_settings(aws_secret_access_key="SECRET")
    assert "SECRET" not in str(caught.value)
