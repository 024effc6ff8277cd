from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pypdfium2
import pytest
from fontTools.ttLib import TTFont
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pdfs import text_of

from taxidask.errors import ReportError
from taxidask.report import build
from taxidask.report.building import execute
from taxidask.report.pdf import typst
from taxidask.report.pdf.exporter import HEADER, TypstPDFExporter, asset
from taxidask.storage.requests import take

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>'


def shown(data: dict, **metadata: object):
    return new_output("display_data", data=data, metadata=metadata)


def export(*cells, **traits: object) -> str:
    """The text of the pages."""
    notebook = new_notebook(cells=list(cells))
    pdf, resources = TypstPDFExporter(execute_if_needed=False, **traits).from_notebook_node(notebook)
    assert pdf.startswith(b"%PDF-")
    assert resources["output_extension"] == ".pdf"
    return text_of(pdf)


def test_code_is_hidden_unless_its_cell_says_otherwise() -> None:
    cells = [
        new_code_cell("hidden = 1"),
        new_code_cell("visible = 2", metadata={"tags": ["show-input"]}),
        new_code_cell("gone = 3", metadata={"tags": ["remove-cell"]}),
        new_code_cell("x", metadata={"tags": ["remove-output"]}, outputs=[new_output("stream", text="no such line")]),
        new_code_cell("y", outputs=[new_output("stream", text="a line that stays")]),
    ]
    text = export(*cells)
    assert "visible = 2" in text
    assert "hidden" not in text
    assert "gone" not in text
    assert "no such line" not in text
    assert "a line that stays" in text
    assert "hidden = 1" in export(*cells, exclude_input=False)


def test_every_kind_of_output_is_shown() -> None:
    table = "<table><thead><tr><th>zone</th></tr></thead><tbody><tr><td>Astoria</td></tr></tbody></table>"
    outputs = [
        new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m words"),
        shown({"text/html": table, "text/plain": "plain table"}),
        shown({"text/html": "<div><p>only html</p></div>"}),
        shown({"text/markdown": "**bold** words"}),
        shown({"text/latex": r"$\frac{1}{2}$"}),
        shown({"text/plain": "plain & simple"}),
        shown({"image/png": PIXEL}, **{"image/png": {"caption": "A pixel.", "alt": "one red point"}}),
        shown({"image/svg+xml": SVG}),
        shown({"application/javascript": "alert(1)"}),
        new_output("error", ename="ValueError", evalue="bad value", traceback=["Traceback", "ValueError: bad value"]),
    ]
    text = export(new_code_cell("x", outputs=outputs))
    for expected in ("red words", "Astoria", "only html", "bold words", "plain & simple", "A pixel.", "bad value"):
        assert expected in text
    assert "Figure 1." in text
    assert "plain table" not in text
    assert "alert" not in text


def _words(*outputs: object) -> list[list[tuple[str, float, float, float, float]]]:
    """Of each page the words with their boxes, in points, as they are drawn."""
    pdf, _ = TypstPDFExporter(execute_if_needed=False).from_notebook_node(
        new_notebook(cells=[new_code_cell("x", outputs=list(outputs))])
    )
    pages = []
    with pypdfium2.PdfDocument(pdf) as document:
        for page in document:
            text = page.get_textpage()
            boxes = [text.get_charbox(at) for at in range(text.count_chars())]
            words, begin, letters = [], 0, text.get_text_range()
            for end in [*(at for at, letter in enumerate(letters) if letter.isspace()), len(letters)]:
                if end > begin:
                    part = boxes[begin:end]
                    box = (
                        min(b[0] for b in part),
                        min(b[1] for b in part),
                        max(b[2] for b in part),
                        max(b[3] for b in part),
                    )
                    words.append((letters[begin:end], *box))
                begin = end + 1
            pages.append(words)
    return pages


@pytest.mark.parametrize("columns", [25, 60])
def test_a_table_wider_than_a_page_comes_in_parts_that_stay_on_it_and_apart(columns: int) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({f"column_{at:02}": rng.integers(10_000_000, 99_999_999, 4) for at in range(columns)})
    frame.index = pd.Index([f"row{at}" for at in range(4)])
    with pd.option_context("display.max_columns", None):
        pages = _words(shown({"text/html": frame._repr_html_(), "text/plain": "x"}))
    drawn = [word for page in pages for word, *_ in page]
    for name in frame:
        assert drawn.count(name) == 1
        assert all(drawn.count(str(number)) == 1 for number in frame[name])
    assert drawn.count("row0") == -(-columns // 10), "each part tells its rows, and there are no more than needed"
    for page in pages:
        assert all(left > 60 and right < 535 for _, left, _, right, _ in page), "inside the margins"
        for at, (word, left, bottom, right, top) in enumerate(page):
            for other, l2, b2, r2, t2 in page[at + 1 :]:
                across, along = min(top, t2) - max(bottom, b2), min(right, r2) - max(left, l2)
                assert across < 1 or along < 0.5, f"{word} and {other} lie on each other"


def test_parts_of_a_table_keep_what_spans_columns() -> None:
    columns = pd.MultiIndex.from_product([[f"day{at}" for at in range(8)], ["pickups", "drop-offs", "difference"]])
    frame = pd.DataFrame(np.arange(48).reshape(2, 24) + 100, columns=columns, index=["Astoria", "SoHo"])
    with pd.option_context("display.max_columns", None):
        pages = _words(shown({"text/html": frame._repr_html_()}))
    drawn = [word for page in pages for word, *_ in page]
    assert all(drawn.count(str(number)) == 1 for number in frame.to_numpy().ravel())
    assert all(drawn.count(f"day{at}") in (1, 2) for at in range(8)), "twice where a part ends within it"
    assert drawn.count("Astoria") == drawn.count("SoHo") > 1


HTML_PAGE = """
<style>p { color: red }</style><script>alert("no")</script>
<div><h3>Cluster &amp; workers</h3><p>Some <b>bold</b> text<br>and a <a href="https://example.org">link</a>.</p>
<ul><li>first point<li>second point</ul><pre>a  b
  c</pre><div hidden>folded away</div><div style="display: none"><div>never</div> seen</div>
<table><tr><th>zone</th></tr><tr><td>Astoria</td></tr></table><p>after the table</p>
<svg width="30" height="10"><rect width="30" height="10"/></svg>
"""


def test_an_html_output_is_shown_by_what_it_says() -> None:
    text = export(new_code_cell("x", outputs=[shown({"text/html": HTML_PAGE, "text/plain": "<Client at 0x7f00>"})]))
    for expected in (
        "Cluster & workers",
        "bold text",
        "and a link.",
        "first point",
        "a b",
        "Astoria",
        "after the table",
    ):
        assert expected in text, expected
    assert text.index("second point") < text.index("Astoria") < text.index("after the table")
    for unwanted in ("0x7f00", "alert", "color", "folded", "never", "seen"):
        assert unwanted not in text


def test_an_output_that_only_a_browser_shows_is_said_to_be_one() -> None:
    html = '<iframe src="https://example.org"></iframe><script>draw()</script>'
    text = export(new_code_cell("x", outputs=[shown({"text/html": html, "text/plain": "<folium.Map at 0x7f00>"})]))
    assert "An output that only a browser shows." in text
    assert "0x7f00" not in text
    assert "a plain summary" in export(
        new_code_cell("x", outputs=[shown({"text/html": html, "text/plain": "a plain summary"})])
    )


def test_letters_that_no_font_has_are_told_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    known = "Καλημέρα Привет שלום مرحبا नमस्ते ✓ ≤ █"
    text = export(new_code_cell("x", outputs=[new_output("stream", text=f"{known} 出租车 🚕")]))
    assert "[U+51FA U+79DF U+8F66] [U+1F695]" in text
    assert "4 different characters are written as [U+…]" in text
    assert typst.drawable(known) == (known, False)


def test_letters_that_only_matplotlibs_fonts_have_are_drawn(caplog) -> None:
    assert "Բարև ⵣ ߊ" in export(new_markdown_cell("Բարև ⵣ ߊ"))  # Armenian, Tifinagh, NKo
    assert not caplog.records


def test_letters_that_no_font_has_are_named_in_a_warning(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    export(new_markdown_cell("출租车 車 и ✓ " + "".join(map(chr, range(0x4E00, 0x4E10)))))
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith("no font has 一 (U+4E00), 丁 (U+4E01), ")
    assert "and 10 more: the PDF shows [U+…] instead. Install a font that does (Debian: fonts-noto-core" in told
    assert "TYPST_FONT_PATHS" in told


def test_letters_that_a_font_in_a_named_folder_has_are_drawn(monkeypatch, tmp_path: Path, caplog) -> None:
    font = TTFont(next(path for path in typst._own_fonts() if path.name == "DejaVuSans.ttf"))
    for table in font["cmap"].tables:
        if table.isUnicode():
            table.cmap = {0x51FA: "A"}
    for name in font["name"].names:
        name.string = "Of a test"
    (tmp_path / "fonts").mkdir()
    font.save(tmp_path / "fonts" / "test.ttf")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    monkeypatch.setenv("TYPST_FONT_PATHS", os.pathsep.join([str(tmp_path / "none"), str(tmp_path)]))
    text = export(new_markdown_cell("a 出 b"))
    assert "a 出 b" in text
    assert "U+51FA" not in text
    assert not caplog.records


def test_letters_that_a_font_of_the_machine_has_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        typst, "_without", lambda letters, fonts: letters if fonts and "ttf" in str(fonts[0]) else set()
    )
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    assert typst.drawable("出租车") == ("出租车", True)


def test_a_header_cell_makes_the_title_and_the_running_head() -> None:
    told = {"title": "Demand #1", "subtitle": "May", "details": [["Run", "run-7"], ["Files", "3"]], "created": 1e9}
    header = new_code_cell("h", outputs=[shown({HEADER: told, "text/plain": "no"})])
    text = export(header, new_markdown_cell("first page"), new_markdown_cell("\n\n".join(["word"] * 200)))
    assert text.count("Demand #1") >= 2
    assert text.count("run-7") >= 2
    assert "May" in text
    assert "5/5" in text.replace(" ", "")
    assert "\nno\n" not in text


def test_the_same_notebook_gives_the_same_bytes() -> None:
    told = {"title": "T", "created": 1_000_000_000}
    notebook = new_notebook(cells=[new_code_cell("h", outputs=[shown({HEADER: told})])])
    first, second = (TypstPDFExporter(execute_if_needed=False).from_notebook_node(notebook)[0] for _ in range(2))
    assert first == second


def test_pictures_that_cannot_be_drawn_do_not_spoil_the_rest() -> None:
    broken = base64.b64encode(b"\x89PNG\r\n\x1a\nthis is no picture").decode()
    nothing = base64.b64encode(b"GIF").decode()
    text = export(
        new_markdown_cell("before ![alternative](attachment:a.png)", attachments={"a.png": {"image/png": broken}}),
        new_code_cell(
            "x", outputs=[shown({"image/png": broken, "text/plain": "<Figure>"}), shown({"image/png": nothing})]
        ),
        new_code_cell("y", outputs=[shown({"image/svg+xml": "<svg><broken"})]),
        new_markdown_cell("after"),
    )
    assert "before alternative" in text
    assert "cannot be drawn: <Figure>" in text
    assert "after" in text


def test_very_long_output_is_cut_with_its_count() -> None:
    text = export(new_code_cell("x", outputs=[new_output("stream", text="line\n" * 5000)]))
    assert "4,600 more lines" in text


def test_a_wide_table_stays_on_the_page() -> None:
    cells = "".join(f"<td>value {n}</td>" for n in range(14))
    text = export(new_code_cell("x", outputs=[shown({"text/html": f"<table><tr>{cells}</tr></table>"})]))
    assert "value" in text


def test_a_notebook_is_executed_by_this_python_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code = "import os, sys\nprint(sys.executable, os.environ['TOKEN'], os.listdir())\nraise_nothing = 1"
    notebook = execute(new_notebook(cells=[new_code_cell(code)]), variables={"TOKEN": "given"})
    assert notebook.cells[0].outputs[0].text.startswith(f"{sys.executable} given ")


def test_what_the_kernel_asks_s3_for_counts_here() -> None:
    code = "from taxidask.storage.requests import Requests, add; add(Requests(3, 4))"
    take()
    execute(new_notebook(cells=[new_code_cell(code)]))
    assert take()[:2] == (3, 4)


def test_a_failing_cell_is_named_with_its_error() -> None:
    cells = [new_markdown_cell("# x"), new_code_cell("a = 1"), new_code_cell("# why\n1 / 0"), new_code_cell("b = 2")]
    with pytest.raises(ReportError, match=r"failed in cell 3 \(# why\): ZeroDivisionError: division by zero"):
        execute(new_notebook(cells=cells))


def test_a_cell_that_takes_too_long_is_stopped() -> None:
    cells = [new_code_cell("a = 1"), new_code_cell("import time; time.sleep(60)")]
    with pytest.raises(ReportError, match=r"longer than 2 s: cell 2 \(import time; time.sleep\(60\)\)"):
        execute(new_notebook(cells=cells), timeout=2)


def test_a_kernel_that_dies_is_an_error() -> None:
    with pytest.raises(ReportError, match=r"kernel died in cell 1 \(import os; os._exit\(1\)\)"):
        execute(new_notebook(cells=[new_code_cell("import os; os._exit(1)")]))


def test_a_template_with_a_fault_is_an_error_that_shows_the_place(tmp_path: Path) -> None:
    template = tmp_path / "bad.typ"
    template.write_text("#let report(body) = nonsense(", encoding="utf-8")
    with pytest.raises(ReportError, match=r"could not be typeset: .*unclosed delimiter"):
        export(new_markdown_cell("x"), template_file=str(template))


# -- the report itself -----------------------------------------------------------------------------------------------


def test_build_writes_the_report_of_a_run(published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = build(store=published.store, lake=published.lake, run_id=published.run, out="sub/report.pdf")
    assert path == str(tmp_path / "sub" / "report.pdf")
    text = text_of(Path(path).read_bytes())
    sources = published.lake.sources()
    kept, rejected, rows = (int(sources[name].sum()) for name in ("kept", "rejected", "rows"))
    assert f"{rows:,} rows were read; {kept:,} are trips" in text.replace("\n", " ")
    for number in (rows, kept, rejected):
        assert f"{number:,}" in text
    assert published.run in text
    for section in ("Data", "Demand", "Forecast", "Fares", "How this report came about", "Mean of four weeks"):
        assert section in text
    assert "Figure 8." in text
    assert "Error" not in text.replace("Errors", "").replace("Error\n", "")


def test_build_of_a_run_that_is_not_there(published, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="there is no run other"):
        build(store=published.store, lake=published.lake, run_id="other", out=tmp_path / "x.pdf")
    assert not (tmp_path / "x.pdf").exists()


@pytest.mark.parametrize("more", [[], ["--execute"]], ids=["as it is", "--execute"])
def test_nbconvert_knows_the_exporter_and_settings_are_relative_to_the_shell(tmp_path, published, more) -> None:
    (tmp_path / "notebooks").mkdir()
    cells = [
        new_code_cell("from taxidask.report import open_run, sections\nrun = open_run()\nsections.header(run)"),
        new_code_cell("sections.sources_table(run)"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "small.ipynb")
    shutil.copytree(published.lake.url, tmp_path / "lake")
    environment = os.environ | {"TAXIDASK_LAKE": "lake", "TAXIDASK_STORE": published.store.url}
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "taxidask-pdf", *more, "notebooks/small.ipynb"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = text_of((tmp_path / "notebooks" / "small.pdf").read_bytes())
    assert published.run in text
    assert str(tmp_path / "lake") in text


def test_the_reports_files_are_found_and_the_notebook_holds_no_outputs() -> None:
    notebook = nbformat.read(asset("report.ipynb"), as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert "let report(" in asset("template.typ").read_text(encoding="utf-8")
    with pytest.raises(ReportError, match="install taxidask again"):
        asset("no-such-file")
