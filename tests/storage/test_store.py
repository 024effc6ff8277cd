from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taxidask.errors import StorageError
from taxidask.storage import MissingError, Storage, absolute, counted, join, scheme
from taxidask.storage import errors as storage_module

KINDS = ["file", "memory", "s3"]


@pytest.fixture(params=KINDS)
def base(request, tmp_path):
    """A fresh folder of each kind of storage."""
    if request.param == "file":
        return str(tmp_path)
    if request.param == "memory":
        return f"memory://{tmp_path.name}-{os.urandom(4).hex()}"
    return request.getfixturevalue("bucket") + "/folder"


@pytest.fixture
def storage():
    return Storage(deadline=20)


# --- names -------------------------------------------------------------------------------------------------------


def test_paths_become_absolute_and_urls_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("lake") == f"{tmp_path}/lake"
    assert absolute(tmp_path / "lake") == f"{tmp_path}/lake"
    assert absolute("file:///x/y") == "/x/y"
    assert absolute("S3://bucket/a/") == "s3://bucket/a"
    assert join("s3://bucket", "a", "b.csv") == "s3://bucket/a/b.csv"
    assert [scheme(url) for url in ("/a", "s3://b/c", "memory://d")] == ["file", "s3", "memory"]


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "gs://bucket/x"])
def test_what_is_no_storage_is_refused(url):
    with pytest.raises(StorageError, match=r"use a local path|write s3://"):
        absolute(url)


# --- every kind of storage behaves the same ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "None is no path or URL; give text"),
        (5, "5 is no path or URL"),
        (b"/data", "b'/data' is no path or URL"),
        ("/data/a\0b", r"'/data/a\\x00b' is no path or URL: it has a zero byte"),
        ("s3://bucket/a\0b", "it has a zero byte"),
        ("/data/\ud800", r"it has the character '\\ud800', which no file name has"),
        ("s3://bucket/\udcff", r"it has the character '\\udcff'"),
        ("s3://my bucket/x", "names the bucket 'my bucket', which S3 does not allow; a bucket has 3 to 63"),
        ("s3://a..b/x", "the bucket 'a..b'"),
        ("s3://-ab/x", "the bucket '-ab'"),
        ("s3://bücket/x", r"the bucket 'b\\xfccket'"),
        ("s3://" + "b" * 256, "which S3 does not allow"),
    ],
)
def test_what_no_storage_can_be_asked_for_is_refused(url, says):
    for call in (absolute, Storage().stat):
        with pytest.raises(StorageError, match=says):
            call(url)


def test_old_buckets_and_access_points_are_taken():
    for bucket in ("Old_Bucket", "my.trips-2015", "arn:aws:s3:us-east-1:111122223333:accesspoint/trips"):
        assert absolute(f"s3://{bucket}/x") == f"s3://{bucket}/x"
    name = os.fsdecode(b"/data/caf\xe9.csv")
    assert absolute(name) == name, "a name that is not UTF-8"


def test_a_url_that_lost_a_slash_is_no_folder():
    for url in (Path("s3://bucket/lake"), "s3:/bucket/lake", Path("memory://lake"), "file:/data"):
        with pytest.raises(StorageError, match="one slash after its colon; write two, as text"):
            absolute(url)


def test_writing_bit_by_bit(base, storage):
    url = f"{base}/bits"
    with storage.writing(url) as file:
        file.write(b"one")
        file.write(b"two")
    assert storage.read(url) == b"onetwo"
    with pytest.raises(TypeError), storage.writing(url) as file:
        file.writelines([b"three", None])
    assert storage.read(url) == b"onetwo"
    assert len(storage.list(base)) == 1


def test_a_name_that_is_too_long(tmp_path, storage):
    for call in (storage.stat, storage.read, lambda url: storage.write(url, b"")):
        with pytest.raises(StorageError, match="the name is too long"):
            call(f"{tmp_path}/{'x' * 5000}")


def test_write_read_stat_delete(base, storage):
    url = join(base, "a folder", "é.bin")
    storage.write(url, b"0123456789")
    assert storage.read(url) == b"0123456789"
    assert storage.read(url, 3) == b"3456789"
    assert storage.read(url, 3, 6) == b"345"
    assert storage.read(url, 8, 100) == b"89"
    assert storage.read(url, 100, 200) == b""
    assert storage.read(url, 6, 6) == b""
    before = storage.stat(url)
    assert (before.url, before.size) == (url, 10)
    assert storage.stat(url) == before
    storage.write(url, b"other")
    assert storage.stat(url).version != before.version
    storage.delete(url)
    storage.delete(url)
    assert not storage.exists(url)


def test_empty_object(base, storage):
    url = join(base, "empty")
    storage.write(url, b"")
    assert storage.read(url) == b""
    assert storage.stat(url).size == 0
    with storage.open(url) as file:
        assert file.read() == b""


def test_missing_object_says_so(base, storage):
    for call in (storage.stat, storage.read, storage.open):
        with pytest.raises(MissingError, match=r"cannot (stat|read) .*none.*: nothing is stored there; check the name"):
            call(join(base, "none"))


def test_create_only_once(base, storage):
    url = join(base, "claim")
    assert storage.create(url, b"first")
    assert not storage.create(url, b"second")
    assert storage.read(url) == b"first"


def test_replace_only_the_version_seen(base, storage):
    url = join(base, "manifest")
    assert not storage.replace(url, b"x", "3-nothing")
    storage.write(url, b"one")
    version = storage.stat(url).version
    assert storage.replace(url, b"two", version)
    assert not storage.replace(url, b"three", version)
    assert storage.read(url) == b"two"


def test_of_many_threads_one_creates(base):
    url = join(base, "claim")

    def attempt(number):
        return Storage().create(url, str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(8)))
    assert sum(won) == 1
    assert Storage().read(url) == str(won.index(True)).encode()


def test_of_many_threads_one_replaces(base, storage):
    url = join(base, "manifest")
    storage.write(url, b"old")
    version = storage.stat(url).version
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: Storage().replace(url, str(n).encode(), version), range(8)))
    assert sum(won) == 1
    assert storage.read(url) == str(won.index(True)).encode()


def test_list_and_glob(base, storage):
    for name in ("a/x.csv", "a/b/y.csv", "a/b/z.txt", "ab/w.csv", "a/[1].csv"):
        storage.write(join(base, name), b"1")
    assert [stat.url for stat in storage.list(join(base, "a"))] == [
        join(base, name) for name in ("a/[1].csv", "a/b/y.csv", "a/b/z.txt", "a/x.csv")
    ]
    assert storage.list(join(base, "nothing")) == []

    def globbed(pattern):
        return [stat.url.removeprefix(base + "/") for stat in storage.glob(join(base, pattern))]

    assert globbed("a/*.csv") == ["a/[1].csv", "a/x.csv"]
    assert globbed("*/*.csv") == ["a/[1].csv", "a/x.csv", "ab/w.csv"]
    assert globbed("**/*.csv") == ["a/[1].csv", "a/b/y.csv", "a/x.csv", "ab/w.csv"]
    assert globbed("a/[wx].csv") == ["a/x.csv"]
    assert globbed("a/?.csv") == ["a/x.csv"]
    assert globbed("a/x.csv") == ["a/x.csv"]
    assert globbed("q*") == []


def test_a_pattern_looks_no_deeper_than_it_can_match(base, storage):
    for name in ("a.csv", "x/b.csv", "x/y/c.csv"):
        storage.write(join(base, name), b"1")
    seen: list = []
    inner = storage._backend(base)[0].list

    def recorded(path, *how):
        found = inner(path, *how)
        seen.append(len(found))
        return found

    backend, _ = storage._backend(base)
    backend.list = recorded
    try:
        names = [[stat.url.removeprefix(base) for stat in storage.glob(join(base, one))] for one in
                 ("*.csv", "x/*.csv", "*/*.csv", "**/*.csv")]  # fmt: skip
    finally:
        del backend.list
    assert names == [["/a.csv"], ["/x/b.csv"], ["/x/b.csv"], ["/a.csv", "/x/b.csv", "/x/y/c.csv"]]
    assert seen[:2] == [1, 1]


def test_an_unreadable_folder_below_is_none_of_a_patterns_business(tmp_path, storage, monkeypatch):
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "secret").mkdir()
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith("secret"):
            raise PermissionError(errno.EACCES, "permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert [stat.url for stat in storage.glob(str(tmp_path / "*.csv"))] == [str(tmp_path / "a.csv")]
    with pytest.raises(StorageError, match="permission denied"):
        storage.list(str(tmp_path))


def test_a_link_to_a_folder_above_ends(tmp_path, storage):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.csv").write_text("1")
    (tmp_path / "x" / "up").symlink_to(tmp_path)
    (tmp_path / "also").symlink_to(tmp_path / "x")
    names = [stat.url.removeprefix(str(tmp_path)) for stat in storage.list(str(tmp_path))]
    assert names == ["/also/a.csv", "/x/a.csv"]


def test_open_is_a_seekable_file(base, storage):
    data = bytes(range(256)) * 40
    url = join(base, "data")
    storage.write(url, data)
    for read_ahead in (0, 100, 1 << 20):
        with storage.open(url, read_ahead=read_ahead) as file:
            assert file.seekable()
            assert file.read(10) == data[:10]
            assert file.seek(-5, 2) == len(data) - 5
            assert file.read() == data[-5:]
            file.seek(1000)
            assert file.read(3000) == data[1000:4000]
            assert file.tell() == 4000


def test_open_reads_ahead_or_exactly(base):
    url = join(base, "data")
    Storage().write(url, bytes(10_000))
    seen: list = []
    with counted(Storage(), seen) as storage:
        with storage.open(url, read_ahead=0) as file:
            file.seek(5000)
            file.read(10)
        assert [size for op, _, size in seen if op == "read"] == [10]
        del seen[:]
        with storage.open(url, read_ahead=4096) as file:
            for _ in range(100):
                file.read(10)
        assert len([op for op, _, _ in seen if op == "read"]) == 1


def test_a_large_object_in_parts(base, storage):
    data = os.urandom(1 << 20) * 70
    url = join(base, "large")
    storage.write(url, data)
    assert storage.read(url) == data
    assert storage.read(url, 7, 50 << 20) == data[7 : 50 << 20]
    assert storage.read(url, 40 << 20, 200 << 20) == data[40 << 20 :]


def test_pickled_and_in_forked_processes(base, storage):
    url = join(base, "shared")
    storage.write(url, b"before")  # connections are open by now
    again = pickle.loads(pickle.dumps(storage))
    assert again.read(url) == b"before"

    def child(number):
        again.write(join(base, f"child-{number}"), again.read(url))

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(number,)) for number in range(2)]
    for process in children:
        process.start()
    for process in children:
        process.join(30)
    assert [process.exitcode for process in children] == [0, 0]
    if not base.startswith("memory://"):
        assert storage.read(join(base, "child-1")) == b"before"


# --- files ---------------------------------------------------------------------------------------------------------


def test_unfinished_files_are_not_seen(tmp_path, storage):
    (tmp_path / "a.csv").write_bytes(b"1")
    (tmp_path / "a.csv.tmp-12-0af3").write_bytes(b"half")
    assert [stat.url for stat in storage.list(str(tmp_path))] == [str(tmp_path / "a.csv")]
    assert len(storage.glob(f"{tmp_path}/*")) == 1


def test_a_failed_write_leaves_what_was_there(tmp_path, storage, monkeypatch):
    url = str(tmp_path / "a")
    storage.write(url, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"the disk is full, or was with a part of this file: [\d,]+ bytes are free"):
        storage.write(url, b"new")
    monkeypatch.undo()
    assert storage.read(url) == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
def test_a_folder_that_takes_no_files(storage):
    with pytest.raises(StorageError, match=r"cannot write /proc/x.csv: its folder takes no new files; choose another"):
        storage.write("/proc/x.csv", b"")
    with pytest.raises(StorageError, match="takes no new files"), storage.writing("/proc/x.csv"):
        pass


def test_a_full_disk(small_disk, storage):
    disk = small_disk("1m")
    storage.write(f"{disk}/small", b"x" * 1000)
    with pytest.raises(StorageError, match=r"disk is full: 2,000,000 bytes needed, 1,.* free; free some space"):
        storage.write(f"{disk}/large", b"x" * 2_000_000)
    with pytest.raises(StorageError, match="disk is full"):
        storage.write(f"{disk}/small", b"y" * 2_000_000)
    assert [(stat.url, stat.size) for stat in storage.list(str(disk))] == [(f"{disk}/small", 1000)]
    assert os.listdir(disk) == ["small"]
    assert storage.read(f"{disk}/small") == b"x" * 1000


def test_folders_are_no_files(tmp_path, storage):
    with pytest.raises(StorageError, match="it is a folder, not a file"):
        storage.read(str(tmp_path))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="a part of its path is a file"):
        storage.write(f"{tmp_path}/file/below", b"")


def test_a_folder_without_permission(tmp_path, storage):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission denied; check the owner"):
        storage.write(f"{tmp_path}/a", b"")


# --- services --------------------------------------------------------------------------------------------------------


def test_no_such_bucket(aws, storage):
    for call in (storage.stat, storage.read, storage.list, lambda url: storage.write(url, b"x")):
        with pytest.raises(StorageError, match=r"no such bucket; check the bucket's name"):
            call("s3://taxidask-no-such-bucket/key")


def test_no_credentials(aws, monkeypatch, tmp_path, storage):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StorageError, match="no credentials; set AWS_PROFILE or AWS_ACCESS_KEY_ID"):
        storage.read("s3://some-bucket/key")


def test_wrong_credentials(bucket, monkeypatch, storage):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StorageError, match=r"credentials not accepted; check AWS_PROFILE"):
        storage.read(f"{bucket}/key")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match=r"credentials not accepted; check AWS_PROFILE"):
        storage.read(f"{bucket}/other")


def test_unreachable_endpoint(aws):
    storage = Storage(endpoint="http://127.0.0.1:9", attempts=2)
    with pytest.raises(StorageError, match=r"cannot be reached .*127\.0\.0\.1:9.*, tried 2 times; check the network"):
        storage.read("s3://bucket/key")


def test_the_deadline_ends_retries(aws):
    with pytest.raises(StorageError, match=r"cannot be reached \("):
        Storage(endpoint="http://127.0.0.1:9", attempts=1000, deadline=0.3).read("s3://bucket/key")


class ServiceError(OSError):
    """As s3fs raises an answer of the service."""

    def __init__(self, code):
        super().__init__(code)
        self.__cause__ = Exception()
        self.__cause__.response = {"Error": {"Code": code}}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDenied", "access denied; check whose credentials"),
        ("ExpiredToken", "credentials expired; log in again"),
        ("PermanentRedirect", "in another region; set AWS_DEFAULT_REGION"),
        ("AuthorizationHeaderMalformed", "in another region"),
        ("SlowDown", "the service is busy, tried 3 times; try again later"),
        ("RequestTimeTooSkewed", "clock is off"),
        ("Unheard", "Unheard: Unheard"),
    ],
)
def test_one_table_explains_services(code, message, monkeypatch):
    monkeypatch.setattr(storage_module.time, "sleep", lambda seconds: None)

    def fail():
        raise ServiceError(code)

    with pytest.raises(StorageError, match=message):
        Storage(attempts=3)._call("read", "s3://bucket/key", fail)


def test_a_busy_service_is_tried_again(monkeypatch):
    monkeypatch.setattr(storage_module.time, "sleep", lambda seconds: None)
    answers = iter([ServiceError("SlowDown"), ServiceError("503"), ConnectionError("reset"), b"data"])

    def call():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Storage()._call("read", "s3://bucket/key", call) == b"data"


@pytest.mark.parametrize(("status", "tries"), [(503, 3), (429, 3), (501, 1), (400, 1)])
def test_any_service_that_is_busy_is_tried_again_whatever_it_calls_it(status, tries, monkeypatch):
    monkeypatch.setattr(storage_module.time, "sleep", lambda seconds: None)
    calls = []

    def fail():
        calls.append(1)
        error = ServiceError("XMinioServerNotInitialized")
        error.__cause__.response["ResponseMetadata"] = {"HTTPStatusCode": status}
        raise error

    with pytest.raises(StorageError, match="the service is busy" if tries > 1 else "XMinio"):
        Storage(attempts=3)._call("read", "s3://bucket/key", fail)
    assert len(calls) == tries


def test_a_conditional_write_over_what_is_gone_by_the_second_try(base, storage, monkeypatch):
    monkeypatch.setattr(storage_module.time, "sleep", lambda seconds: None)
    url = join(base, "claim")
    storage.write(url, b"old")
    version, tries = storage.stat(url).version, []
    backend, _ = storage._backend(url)
    put = backend.put

    def lossy(path, data, **condition):
        tries.append(path)
        if len(tries) == 1:
            backend.delete(path)
            raise ConnectionError("the answer got lost")
        put(path, data, **condition)

    monkeypatch.setattr(backend, "put", lossy)
    assert not storage.replace(url, b"mine", version)


def test_a_mistake_of_ours_is_not_dressed_up():
    with pytest.raises(ZeroDivisionError):
        Storage()._call("read", "x", lambda: 1 / 0)


@pytest.mark.parametrize("kind", ["create", "replace"])
def test_a_conditional_write_whose_answer_got_lost(kind, base, storage, monkeypatch):
    """The first try wrote, its answer was lost; the second is told that something is there: its own."""
    monkeypatch.setattr(storage_module.time, "sleep", lambda seconds: None)
    url = join(base, "claim")
    if kind == "replace":
        storage.write(url, b"old")
    backend, _ = storage._backend(url)
    put, lost = backend.put, []

    def lossy(path, data, **condition):
        put(path, data, **condition)
        if not lost:
            lost.append(path)
            raise ConnectionError("the answer got lost")

    monkeypatch.setattr(backend, "put", lossy)
    won = storage.create(url, b"mine") if kind == "create" else storage.replace(url, b"mine", storage.stat(url).version)
    assert won
    assert lost


def test_threads_share_one_connection(bucket):
    storage = Storage()
    storage.write(f"{bucket}/a", b"x" * 1000)
    found = []

    def read():
        found.append(storage.read(f"{bucket}/a"))

    threads = [threading.Thread(target=read) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [b"x" * 1000] * 10


def test_a_listing_tells_when_an_object_was_written(tmp_path):
    for url in (str(tmp_path / "a"), "memory://modified/a"):
        (storage := Storage()).write(url, b"x")
        [listed] = storage.list(url.rpartition("/")[0])
        assert abs(listed.modified - time.time()) < 60
        assert storage.stat(url).modified == listed.modified


@pytest.mark.parametrize("address", ["nonsense", "http://"])
def test_an_address_that_is_none_is_told_as_that(address, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
    with pytest.raises(StorageError, match="write AWS_ENDPOINT_URL_S3 as http://host:port"):
        Storage().read("s3://bucket/lake/lake.json")
