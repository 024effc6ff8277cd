"""The Report page, and the one file that is served beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from app.conftest import RUN
from app.test_server import command, free_port, get

from taxidask.app import reportfile
from taxidask.app.pages.report import Report
from taxidask.app.state import AppState
from taxidask.errors import ReportError
from taxidask.results import Store
from taxidask.runs.starting import Started, Starter
from taxidask.settings import Settings

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 10


class Process:
    pid = 0
    code: int | None = None

    def poll(self) -> int | None:
        return self.code


class Stub(Starter):
    asked: Any = None

    def _start(self, what: str, words: Any, settings: Settings, *, seconds: float | None = None) -> Started:
        self.asked = words, settings, seconds
        begun = Started(what, "20260101T000000Z-0123abcd.log", Process(), command=words[0])
        self.started.append(begun)
        return begun


@pytest.fixture
def pdf(filled: Store, tmp_path: Path) -> Path:
    """Where the run's report is; not there yet."""
    path = tmp_path / "reports" / "report.pdf"
    path.parent.mkdir()
    filled.update_run(RUN, {"settings": {"lake": "/data/lake", "report": str(path), "heartbeat_timeout": 60.0}})
    return path


def looked(store: Store, tmp_path: Path) -> Report:
    page = Report(AppState(store, Settings(store=store.url), starter=Stub(tmp_path / "logs")))
    asyncio.run(page.refresh())
    return page


def test_the_report_is_shown_when_it_is_there(filled: Store, pdf: Path, tmp_path: Path) -> None:
    page = looked(filled, tmp_path)
    assert "there is no file" in page.told.object
    assert not page.preview_card.visible
    pdf.write_bytes(PDF)
    page.app.forget("report")
    asyncio.run(page.refresh())
    first = page.preview.object
    assert "type='application/pdf'" in first
    assert "download=" in page.told.object
    pdf.write_bytes(PDF * 2)
    page.app.forget("report")
    asyncio.run(page.refresh())
    assert page.preview.object != first  # another version, which the browser has not kept


def test_it_is_built_by_an_operator_and_what_came_of_it_is_told(filled: Store, pdf: Path, tmp_path: Path) -> None:
    page = looked(filled, tmp_path)
    asyncio.run(page._build(None))
    words, settings, seconds = page.app.starter.asked
    assert words == ["report", "--run", RUN]
    assert (settings.report, settings.lake, settings.store) == (str(pdf), "/data/lake", filled.url)
    assert seconds == 900
    other = looked(filled, tmp_path)
    other.app = page.app
    asyncio.run(other._build(None))
    assert "The report is being built" in other.notice.object, "as the other began it"
    assert len(page.app.starter.started) == 1
    page.app.starter.started[0].process.code = 1
    page.app.starter.folder.mkdir(parents=True, exist_ok=True)
    (page.app.starter.folder / "20260101T000000Z-0123abcd.log").write_text("error: cell 3 failed\n")
    asyncio.run(page.refresh())
    assert "could not be built: error: cell 3 failed" in page.notice.object
    assert not page.build.disabled


@pytest.mark.parametrize("code", [0, 1])
def test_a_build_is_followed_by_all_who_look_and_its_error_is_told_to_who_began_it(
    filled: Store, pdf: Path, tmp_path: Path, code: int
) -> None:
    page = looked(filled, tmp_path)
    reader = Report(AppState(filled, Settings(store=filled.url), starter=page.app.starter, local=False))
    other = Report(page.app)
    asyncio.run(page._build(None))
    for one in (other, reader):
        asyncio.run(one.refresh())
        assert "The report is being built" in one.notice.object
        assert one.build.disabled
    asyncio.run(other._build(None))
    assert len(page.app.starter.started) == 1
    page.app.starter.started[0].process.code = code
    for one in (page, other, reader):
        asyncio.run(one.refresh())
    told = "The report is built." if code == 0 else "began came to nothing: the report is what it was"
    assert told in other.notice.object
    assert told in reader.notice.object
    assert ("could not be built" if code else told) in page.notice.object
    assert [one.build.disabled for one in (page, other, reader)] == [False, False, True]


def test_who_only_reads_builds_nothing(filled: Store, pdf: Path, tmp_path: Path) -> None:
    app = AppState(filled, Settings(store=filled.url), starter=Stub(tmp_path / "logs"), local=False)
    page = Report(app)
    asyncio.run(page.refresh())
    assert page.build.disabled
    asyncio.run(page._build(None))
    assert app.starter.asked is None


def test_an_empty_store_has_no_report(store: Store, tmp_path: Path) -> None:
    store.create()
    assert "so there is no report" in looked(store, tmp_path).notice.object
    with pytest.raises(ReportError, match="there is no report yet"):
        reportfile.read(store)


def test_only_a_pdf_of_a_bearable_size_is_read(filled: Store, pdf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pdf.write_text("root:x:0:0")
    with pytest.raises(ReportError, match="is no PDF"):
        reportfile.read(filled)
    pdf.write_bytes(PDF)
    assert reportfile.read(filled) == PDF
    monkeypatch.setattr(reportfile, "_MOST_BYTES", 1000)
    with pytest.raises(ReportError, match="larger than"):
        reportfile.read(filled)
    filled.update_run(RUN, {"settings": {"report": "/etc/passwd"}})
    with pytest.raises(ReportError, match="there is no report yet"):
        reportfile.read(filled)


def test_it_is_served_and_nothing_else(filled: Store, pdf: Path, tmp_path: Path) -> None:
    import urllib.request

    port = free_port()
    users = tmp_path / "users.json"
    users.write_text('{"ann": "word"}')
    code = f"import taxidask.app; taxidask.app.serve({filled.url!r}, port={port}"
    with command("-c", f"{code})", port=port) as address:
        status, text = get(f"{address}/report.pdf")
        assert status == 404
        assert "there is no report yet" in text
        pdf.write_bytes(PDF)
        (pdf.parent / "other.pdf").write_bytes(PDF)
        with urllib.request.urlopen(f"{address}/report.pdf?download", timeout=20) as answer:
            assert answer.read() == PDF
            assert answer.headers["Content-Type"] == "application/pdf"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Disposition"].startswith("attachment")
        for other in ("/other.pdf", "/report.pdf/../other.pdf", "/reports/report.pdf", "/report.pdf%2f..%2fother.pdf"):
            assert get(address + other)[0] == 404
    with command("-c", f"{code}, auth='basic', users={str(users)!r})", port=port) as address:
        status, text = get(f"{address}/report.pdf")
        assert "%PDF" not in text
        assert "password" in text.lower()  # where one signs in
