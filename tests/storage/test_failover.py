"""A storage with regions, before real servers in two of them whose links are cut."""

from __future__ import annotations

import pickle
import time

import pytest
from links import Fault
from replica import Pair

from taxidask.errors import RegionDarkError, StorageError
from taxidask.storage import MissingError, Stat, Storage, default_storage
from taxidask.storage import regions as module
from taxidask.storage.failover import TRIES


def over() -> None:
    """The waits of regions that are dark are over: each is tried by the next request."""
    for breaker in module._process.of.values():
        breaker.until = 0.0


def test_reads_go_on_in_the_other_region(pair: Pair, caplog):
    storage = pair.storage()
    storage.write(f"{pair.url}/a/one", b"1")
    pair.settle()
    before = storage.stat(f"{pair.url}/a/one")
    pair.east.off()
    assert storage.read(f"{pair.url}/a/one") == b"1"
    assert storage.read(f"{pair.url}/a/one", 0, 1, version=before.version) == b"1"
    assert storage.stat(f"{pair.url}/a/one") == before  # named by home's URL, in the same version
    assert storage.list(pair.url) == [before]
    assert storage.glob(f"{pair.url}/*/o*") == [before]
    with storage.open(f"{pair.url}/a/one") as file:
        assert file.read() == b"1"
    assert "us-east-1: s3 is dark" in caplog.text
    said = len(caplog.records)
    storage.read(f"{pair.url}/a/one")
    assert len(caplog.records) == said  # stepped over from then on


@pytest.mark.parametrize("how", ["refuse", "drop", "hang", "error", "throttle", "reset", "cut"])
def test_a_request_goes_on_however_a_region_ends(pair: Pair, how):
    storage = Storage(regions=pair.regions())
    storage.write(f"{pair.url}/one", b"1" * 1000)
    pair.settle()
    storage.read(f"{pair.url}/one", 0, 1000)  # over a connection that stays open
    if how in ("refuse", "drop"):
        pair.east.off(how)
    else:
        pair.east.play(Fault(how))
    asked = pair.east.asked.total()
    assert storage.read(f"{pair.url}/one", 0, 1000) == b"1" * 1000
    assert pair.east.asked.total() - asked <= 10  # 5 tries, and aiohttp sends once more what a connection lost
    assert storage.regions.status()[0].state == "open"


def test_a_copy_that_has_not_come_yet_is_not_missing(pair: Pair):
    east, west = pair.storage(), pair.storage(active="west")
    west.write(f"{pair.url}/one", b"1")
    assert east.read(f"{pair.url}/one") == east.read(f"{pair.url}/one", 0, 9) == b"1"
    assert east.exists(f"{pair.url}/one")
    with pytest.raises(MissingError, match="nothing is stored there"):
        east.read(f"{pair.url}/two", 0, 1)
    pair.west.off()
    with pytest.raises(MissingError, match="nothing is stored there; us-west-2, which may have it, is dark"):
        east.read(f"{pair.url}/one")
    with pytest.raises(MissingError, match="us-west-2, which may have it, is dark"):
        east.read(f"{pair.url}/one", 0, 1)


def test_what_is_old_is_not_preferred_to_what_is_known_to_be_newer(pair: Pair):
    east, west = pair.storage(), pair.storage(active="west")
    east.write(f"{pair.url}/one", b"old")
    pair.settle()
    first = east.stat(f"{pair.url}/one")
    pair.east.off()
    time.sleep(1.1)  # S3 tells whole seconds
    west.write(f"{pair.url}/one", b"new")
    pair.east.on()
    over()
    for storage in (east, west):
        assert storage.read(f"{pair.url}/one") == b"new"
        assert [one.version for one in storage.list(pair.url)] == [storage.stat(f"{pair.url}/one").version]
    assert not east.replace(f"{pair.url}/one", b"mine", first.version)
    assert east.replace(f"{pair.url}/one", b"mine", east.stat(f"{pair.url}/one").version)  # over a copy to come
    pair.settle()
    assert pair.only("west").read(f"{pair.url}/one") == b"mine"
    assert east.settled(f"{pair.url}/one") is False
    east.stat(f"{pair.url}/one")
    assert east.settled(f"{pair.url}/one")


def test_a_create_looks_at_all_regions(pair: Pair):
    east, west = pair.storage(), pair.storage(active="west")
    assert west.create(f"{pair.url}/claim", b"west")
    assert not east.create(f"{pair.url}/claim", b"east")
    pair.west.off()
    assert east.create(f"{pair.url}/claim", b"east")  # it cannot be known of
    assert not east.create(f"{pair.url}/claim", b"other")


def test_a_write_stays_or_goes_over(pair: Pair, caplog):
    staying, moving = pair.storage(), pair.storage(moves=True)
    pair.east.off()
    with pytest.raises(RegionDarkError, match=r"cannot write s3://\S+/one: us-east-1, the active region, is dark: "):
        staying.write(f"{pair.url}/one", b"1")
    with pytest.raises(RegionDarkError) as error:
        pickle.loads(pickle.dumps(moving)).write(f"{pair.url}/one", b"1")  # as a worker has it
    assert (error.value.region, error.value.service) == ("us-east-1", "s3")
    moving.write(f"{pair.url}/one", b"1")
    assert moving.regions.active.name == "us-west-2"
    assert "gone over from us-east-1 to us-west-2" in caplog.text
    assert pair.only("west").read(f"{pair.url}/one") == b"1"
    pair.west.off()
    with pytest.raises(RegionDarkError, match="no region is left to go over to from us-west-2"):
        moving.write(f"{pair.url}/one", b"2")


def test_where_no_region_answers_it_is_told_of_each(pair: Pair):
    storage = pair.storage()
    pair.east.off()
    pair.west.off()
    with pytest.raises(StorageError, match=r"no region answers: us-east-1: .*; us-west-2: ") as error:
        storage.read(f"{pair.url}/one")
    assert not isinstance(error.value, MissingError)
    pair.west.on()
    assert not storage.exists(f"{pair.url}/one")  # tried again within a second


def test_a_refusal_is_an_answer(pair: Pair, monkeypatch, caplog):
    storage = pair.storage()
    pair.east.play(Fault("error", status=403))
    with pytest.raises(StorageError):
        storage.read(f"{pair.url}/one", 0, 1)
    assert {one.state for one in storage.regions.status()} == {"closed"}
    assert not caplog.records


def test_one_request_tries_a_region_again(pair: Pair):
    storage = pair.storage()
    storage.write(f"{pair.url}/one", b"1")
    pair.settle()
    pair.east.off()
    storage.read(f"{pair.url}/one", 0, 1)
    pair.east.on()
    before = pair.east.asked.total()
    for _ in range(3):
        storage.read(f"{pair.url}/one", 0, 1)
    assert pair.east.asked.total() == before
    over()
    pair.east.play(Fault("error"))
    for _ in range(3):
        assert storage.read(f"{pair.url}/one", 0, 1) == b"1"
    assert pair.east.asked.total() == before + TRIES  # of one of the three
    over()
    pair.east.play()
    west = pair.west.asked.total()
    for _ in range(3):
        assert storage.read(f"{pair.url}/one", 0, 1) == b"1"
    assert (pair.east.asked.total(), pair.west.asked.total()) == (before + TRIES + 3, west)


def test_versions_are_not_mixed(pair: Pair):
    """A file that was replaced: what one region has is of another version than what was begun with."""
    east, west = pair.storage(), pair.storage(active="west")
    east.write(f"{pair.url}/a.csv", b"old")
    pair.settle()
    time.sleep(1.1)
    east.write(f"{pair.url}/a.csv", b"NEW")
    new = east.stat(f"{pair.url}/a.csv")
    assert west.read(f"{pair.url}/a.csv", 0, 2, version=new.version) == b"NE"
    pair.east.off()
    with pytest.raises(StorageError, match="it is of another version now, or not copied yet; us-east-1, which may"):
        west.read(f"{pair.url}/a.csv", 0, 2, version=new.version)


def test_regions_of_the_settings_and_urls_without_a_counterpart(pair: Pair, bucket, monkeypatch, tmp_path):
    east, west = pair.regions().regions
    monkeypatch.chdir(tmp_path)
    assert default_storage().regions is None
    (tmp_path / "taxidask.toml").write_text(
        f'[[regions]]\nname = "{east.name}"\ns3_endpoint = "{east.s3_endpoint}"\n'
        f'[[regions]]\nname = "{west.name}"\ns3_endpoint = "{west.s3_endpoint}"\n'
        f'places = {{"{pair.url}" = "{pair.url}-west"}}\n'
    )
    storage = default_storage()
    pair.east.off()
    storage.write(f"{pair.url}/one", b"1")
    assert pair.only("west").read(f"{pair.url}/one") == b"1"
    for url in (f"{bucket}/one", str(tmp_path / "one"), "memory://taxidask-failover/one"):  # as without regions
        storage.write(url, b"1")
        assert storage.read(url) == Storage().read(url) == b"1"
        assert storage.settled(url)
    assert isinstance(storage.stat(f"{bucket}/one"), Stat)
