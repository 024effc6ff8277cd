from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
import typst as compiler
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pdfs import text_of

from taxidask.report.pdf import markdown, tables, typst
from taxidask.report.pdf.exporter import asset

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HEAD = '#import "template.typ": data-table\n'


def compiled(*expressions: str, files: dict[str, bytes] | None = None) -> bytes:
    source = HEAD + "\n".join(f"#{expression}" for expression in expressions)
    return typst.compile_pdf(source, {"template.typ": asset("template.typ").read_bytes(), **(files or {})})


def typst_strings(source: str) -> str:
    """Every string literal of some Typst source, put together; what is outside them is code."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', source))


# Text that means something to Typst, in markup or in code
HOSTILE = [
    '#panic("no")',
    '"); panic("no'.replace("'", ""),
    '\\"; panic("no"); "',
    "$ x $ #let a = 1 @label <label> `raw` [x]",
    "= no heading",
    '#read("/etc/passwd")',
    "*/ panic() /*",
    "// comment",
    "\\u{41}",
    "~ -- --- ... 'q' \"q\"",
    '#import "@preview/x:1.0.0"',
    "/ term: x",
    "+ enum",
    "{ panic() }",
    "[ #panic() ]",
    "\x00\x1b[31mred\x1b[0m\ud800",
    "\u202eright to left",
    "a" * 300,
    "⚠️ 🚕 日本語 ﷽",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(text: str) -> None:
    compiled(markdown.to_typst(text), typst.text(text), typst.raw(text, display=True), typst.raw(text, lang="python"))


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_compiles_as_text_and_as_markdown(text: str) -> None:
    compiled(typst.text(text), typst.raw(text, display=True), markdown.to_typst(text))


MARKS = [
    "#",
    "*",
    "_",
    "`",
    "[",
    "]",
    "(",
    ")",
    "!",
    "<",
    ">",
    "|",
    "-",
    "+",
    "1.",
    "\n",
    "\n\n",
    "  ",
    "$",
    "$$",
    "\\",
    "~~",
    "^",
    "~",
    ":",
    "---",
    "```",
    "&amp;",
    "http://a.b",
    "[^1]",
    "[^1]:",
    "<br>",
    "<table>",
    "<td>",
    "<img src=x>",
    "word",
    "#x()",
    '"',
    "{",
    "}",
    "- [ ]",
]


@given(st.lists(st.sampled_from(MARKS), max_size=40).map("".join))
@example("> " * 80 + "deep")
@example("- " * 80 + "deep")
@example("*" * 400 + "a" + "*" * 400)
@example("[" * 400 + "a" + "](b)" * 400)
@example("[^1]\n\n[^1]: note that cites itself[^1]")
@example("$~~$")
@settings(max_examples=120, deadline=None)
def test_any_markup_compiles(source: str) -> None:
    compiled(markdown.to_typst(source))


@given(st.text(max_size=80))
@settings(max_examples=80, deadline=None)
def test_a_literal_evaluates_to_its_text(text: str) -> None:
    assert json.loads(compiler.Compiler().eval(typst.literal(text), format="json")) == typst.plain(text)


def test_headings_lists_emphasis_and_code() -> None:
    source = markdown.to_typst("## Two *words*\n\n1. a\n2. b\n\n- [x] done\n\n`x = 1`\n\n```python\ny = 2\n```")
    assert 'heading(level: 2, {[]; "Two "; emph({[]; "words"})})' in source
    assert "enum(tight: true, start: 1" in source
    assert '"☑ "' in source
    assert 'raw(block: false, "x = 1")' in source
    assert 'raw(block: true, lang: "python", "y = 2")' in source


def test_links_go_to_the_web_only() -> None:
    source = markdown.to_typst("[a](https://example.org/x?y=1) [b](javascript:alert(1)) [c](file:///etc/passwd)")
    assert 'link("https://example.org/x?y=1", ' in source
    assert "javascript" not in source
    assert "passwd" not in source


def test_entities_are_text() -> None:
    assert "R&D <b> ©" in typst_strings(markdown.to_typst("R&amp;D &lt;b&gt; &copy;"))


def test_html_is_reduced_to_its_text() -> None:
    source = markdown.to_typst("a<br>b <b>bold</b> <script>alert(1)</script>\n\n<div>block <i>x</i></div>")
    assert "linebreak()" in source
    assert "bold" in source
    assert "<b>" not in source
    assert "block x" in source


def test_a_markdown_table_keeps_its_alignment() -> None:
    source = markdown.to_typst("| a | b |\n|:--|--:|\n| x | 1 |\n| y | `2` |")
    assert "columns: 2" in source
    assert "align: (left, right,)" in source
    assert "table.header" in source


def test_short_and_long_rows_of_a_table_are_made_even() -> None:
    source = markdown.to_typst("| a | b |\n|---|---|\n| only |\n| 1 | 2 | 3 |\n\n```\n| x |\n|---|---|\n```\n")
    assert "columns: 2" in source
    assert '"only"' in source
    assert '"3"' not in source
    assert '"| x |\\n|---|---|"' in source
    compiled(source)


def test_formulas_are_drawn_and_unknown_ones_shown() -> None:
    assert "image(" in markdown.to_typst(r"$\frac{a}{b}$")
    assert r"\\undefinedcommand" in markdown.to_typst(r"$\undefinedcommand{x}$")
    compiled(markdown.to_typst("$$\n\\sum_{i=0}^n x_i\n$$\n\nand $x^2$"))


def test_pictures_come_from_attachments_and_files_only(tmp_path: Path) -> None:
    from taxidask.report.pdf.exporter import Pictures

    (tmp_path / "map.png").write_bytes(PIXEL)
    pictures = Pictures(tmp_path)
    find = pictures.of_cell({"a.png": {"image/png": base64.b64encode(PIXEL).decode()}})
    data = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
    assert find("attachment:a.png") == find("map.png") == find(data) is not None
    for missing in (
        "https://example.org/x.png",
        "no.png",
        "attachment:b.png",
        "data:image/png;base64,!!",
        "file:///etc/passwd",
    ):
        assert find(missing) is None
    source = markdown.to_typst("![The map](map.png)\n\n![Far](https://example.org/x.png)", pictures=find)
    compiled(source, files=pictures.files)
    assert 'link("https://example.org/x.png"' in source


def test_long_words_may_break() -> None:
    url = "s3://bucket/" + "deep/" * 30 + "x" * 100
    broken = typst.breakable(url)
    assert broken.replace("\u200b", "") == url
    assert max(map(len, broken.split("\u200b"))) <= typst.LONGEST_WORD
    assert typst.breakable("short words stay") == "short words stay"


# -- tables ----------------------------------------------------------------------------------------------------------


def test_a_pandas_table_is_read_with_its_head_and_index() -> None:
    import pandas as pd

    frame = pd.DataFrame({"zone": ["Alphabet <City>", "B & C"], "trips": [1204, 33]}, index=["r1", "r2"])
    (table,) = tables.from_html(frame.to_html())
    assert [cell.plain for cell in table.head[0]] == ["", "zone", "trips"]
    assert [cell.plain for cell in table.body[0]] == ["r1", "Alphabet <City>", "1204"]
    assert "align: (left, left, right,)" in table.to_typst()
    compiled(table.to_typst())


def test_a_table_with_two_header_rows_and_spans() -> None:
    import pandas as pd

    columns = pd.MultiIndex.from_product([["a", "b"], ["x", "y"]], names=["one", "two"])
    index = pd.MultiIndex.from_product([["p", "q"], [1, 2]])
    frame = pd.DataFrame(1.5, index=index, columns=columns)
    (table,) = tables.from_html(frame.to_html())
    assert len(table.head) == 2
    assert "colspan: 2" in table.to_typst()
    assert "rowspan: 2" in table.to_typst()
    compiled(table.to_typst())


def test_text_of_a_table_survives_to_the_page() -> None:
    import pandas as pd

    frame = pd.DataFrame({"#name $": ['"quoted" \\ *x* _y_', "@ref <tag>"], "USD": [1.25, -3.5]})
    shown = text_of(compiled(*(table.to_typst() for table in tables.from_html(frame.to_html()))))
    for text in ("#name $", '"quoted" \\ *x* _y_', "@ref <tag>", "1.25", "-3.50"):
        assert text in shown


TAGS = [
    "<table>",
    "</table>",
    "<thead>",
    "</thead>",
    "<tfoot>",
    "<tr>",
    "</tr>",
    "<td>",
    "</td>",
    "<th>",
    "<td colspan=3>",
    "<td rowspan=2>",
    "<td rowspan=99 colspan=99>",
    "<td colspan=-1 rowspan=x>",
    "<caption>",
    "</caption>",
    "<b>",
    "</b>",
    "<code>",
    "<br>",
    "text",
    "#x",
    "12",
    "<style>",
    "</style>",
    "<!--",
    "-->",
    "<td style='text-align: center'>",
    "&lt;",
    "<script>",
    "</script>",
]


@given(st.lists(st.sampled_from(TAGS), max_size=40).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_broken_html_compiles(source: str) -> None:
    compiled(*(table.to_typst() for table in tables.from_html("<table>" + source)), "[end]")


def test_styles_and_scripts_are_left_out() -> None:
    (table,) = tables.from_html("<style>b {}</style><table><tr><td><script>x</script>1<tr><td>2</table>")
    assert [[cell.plain for cell in row] for row in table.body] == [["1"], ["2"]]
