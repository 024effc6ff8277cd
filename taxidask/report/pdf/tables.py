"""Tables: read from HTML (what pandas shows in a notebook), written as Typst."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

from taxidask.report.pdf import typst

_NUMBER = re.compile(
    r"[+\-−±]?\s?[$€]?\s?\d[\d,.\u202f\u00a0]*(?:e[+\-]?\d+)?\s?(?:%|×|[A-Za-z²°]{1,4})?", re.IGNORECASE
)
_DATE = re.compile(r"\d{4}-\d\d")
_BLANK = {"", "-", "–", "—", "nan", "NaN", "NaT", "None", "<NA>", "..."}
_MOST = 64  # columns or rows one cell may span, so that a hostile page cannot ask for millions of cells
_ROOM = 470.0  # points: the width of the text on A4
_LETTER, _BESIDE = 3.6, 8.4  # points: a letter and what is left beside a cell's text, at the smallest size
_EASY = 14  # letters: what is longer may take several lines
_TOGETHER = 16  # rows: a longer table may go on on the next page


@dataclass
class Cell:
    """One cell: a Typst expression, the same as plain text, and how it is placed."""

    content: str = typst.EMPTY
    plain: str = ""
    align: str | None = None
    columns: int = 1
    rows: int = 1


@dataclass
class Table:
    """A table as rows of cells.

    Attributes
    ----------
    head, body, foot : list of list of Cell
        The head repeats on every page, the foot (totals) is set apart by a rule. A row may be short.
    caption : str or None
        Shown above the table.
    labels : int
        Columns at the left that tell the rows apart; every part of a table that is split has them.
    """

    head: list[list[Cell]] = field(default_factory=list)
    body: list[list[Cell]] = field(default_factory=list)
    foot: list[list[Cell]] = field(default_factory=list)
    caption: str | None = None
    labels: int = 0

    def to_typst(self) -> str:
        """Write the table as one Typst expression, which uses ``data-table`` of the template.

        One that is wider than a page, however small it is set, is written in parts below each other.
        """
        sections = [_settled(self.head), _settled(self.body), _settled(self.foot)]
        width = max((have for rows in sections for have in _covered(rows)), default=0)
        if width == 0:
            return typst.EMPTY
        head, body, foot = [_filled(rows, width) for rows in sections]
        aligns = [_alignment([*body, *foot], column) for column in range(width)]
        grids = []
        for columns in _parts(_needs([*head, *body, *foot], width), self.labels):
            grid = _grid([_cut(rows, columns) for rows in (head, body, foot)], [aligns[column] for column in columns])
            if sum(map(len, sections)) <= _TOGETHER:
                grid = typst.call("block", grid, breakable="false", width="100%")
            grids.append(grid)
        whole = grids[0] if len(grids) == 1 else typst.block(grids)
        if self.caption:
            whole = typst.call("figure", whole, kind="table", caption=typst.block([typst.text(self.caption)]))
            if len(grids) == 1 and sum(map(len, sections)) <= _TOGETHER:
                whole = typst.call("block", whole, breakable="false", width="100%")
        return whole


def _grid(sections: list[list[list[Cell]]], aligns: list[str]) -> str:
    head, body, foot = sections
    parts = [_cell(cell) for row in body for cell in row]
    if head:
        parts.insert(0, typst.call("table.header", *(_cell(cell) for row in head for cell in row)))
    if foot:
        cells = (typst.call("strong", cell.content) for row in foot for cell in row)
        parts.append(typst.call("table.footer", "table.hline(stroke: 0.5pt)", *cells, repeat="false"))
    grid = typst.call("table", *parts, columns=str(len(aligns)), align=f"({', '.join(aligns)},)")
    return typst.call("data-table", grid)


def _needs(rows: list[list[Cell]], width: int) -> list[float]:
    """Points that each column takes at least, set as small as the template does."""
    letters = [0] * width
    for row in _placed(rows):
        for x, cell in row:
            words = [_letters(word) for word in cell.plain.split()]
            if words and cell.columns == 1:
                least = max(min(max(words), typst.LONGEST_WORD), min(sum(words) + len(words) - 1, _EASY))
                letters[x] = max(letters[x], least)
    return [count * _LETTER + _BESIDE for count in letters]


def _letters(word: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in word)


def _parts(needs: list[float], labels: int) -> list[list[int]]:
    """Columns by the part of the table that they come in: as few parts as there must be."""
    width = len(needs)
    if sum(needs) <= _ROOM:
        return [list(range(width))]
    while labels and (labels >= width or sum(needs[:labels]) > _ROOM / 2):
        labels -= 1
    always, room = list(range(labels)), _ROOM - sum(needs[:labels])
    parts = _filled_up(needs, range(labels, width), room)
    # as many of much the same width
    even = sum(needs[labels:]) / len(parts) + max(needs[labels:])
    parts = _filled_up(needs, range(labels, width), min(room, even))
    return [always + part for part in parts]


def _filled_up(needs: list[float], columns: range, room: float) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for column in columns:
        if parts[-1] and sum(needs[at] for at in parts[-1]) + needs[column] > room:
            parts.append([])
        parts[-1].append(column)
    return parts


def _placed(rows: list[list[Cell]]) -> list[list[tuple[int, Cell]]]:
    """Each row's cells with the column they begin in."""
    taken: dict[int, set[int]] = {}
    placed = []
    for y, row in enumerate(rows):
        x, line = 0, []
        for cell in row:
            while x in taken.get(y, ()):
                x += 1
            line.append((x, cell))
            for below in range(y + 1, y + cell.rows):
                taken.setdefault(below, set()).update(range(x, x + cell.columns))
            x += cell.columns
        placed.append(line)
    return placed


def _cut(rows: list[list[Cell]], columns: list[int]) -> list[list[Cell]]:
    """The rows with some of their columns; what spans several spans those of them that are left."""
    return [
        [replace(cell, columns=left) for x, cell in row if (left := sum(x <= at < x + cell.columns for at in columns))]
        for row in _placed(rows)
    ]


def _cell(cell: Cell) -> str:
    options: dict[str, str] = {}
    if cell.columns > 1:
        options |= {"colspan": str(cell.columns), "align": "center"}
    if cell.rows > 1:
        options["rowspan"] = str(cell.rows)
    if cell.align:
        options["align"] = cell.align
    return typst.call("table.cell", cell.content, **options) if options else cell.content


def _settled(rows: list[list[Cell]]) -> list[list[Cell]]:
    """Cut spans that would leave the section or overlap another cell; rows stay in their order."""
    taken: dict[int, set[int]] = {}
    result = []
    for y, row in enumerate(rows):
        busy = taken.get(y, set())
        x, placed = 0, []
        for cell in row:
            while x in busy:
                x += 1
            columns = 1
            while columns < min(cell.columns, _MOST) and x + columns not in busy:
                columns += 1
            height = max(1, min(cell.rows, _MOST, len(rows) - y))
            for below in range(y + 1, y + height):
                taken.setdefault(below, set()).update(range(x, x + columns))
            placed.append(replace(cell, columns=columns, rows=height))
            x += columns
        result.append(placed)
    return result


def _covered(rows: list[list[Cell]]) -> list[int]:
    """How many columns each row fills, with the cells that reach into it from above."""
    covered = [0] * len(rows)
    for y, row in enumerate(rows):
        for cell in row:
            for line in range(y, y + cell.rows):
                covered[line] += cell.columns
    return covered


def _filled(rows: list[list[Cell]], width: int) -> list[list[Cell]]:
    """Give short rows empty cells, so that every row of the grid is full."""
    return [[*row, *(Cell() for _ in range(width - have))] for row, have in zip(rows, _covered(rows), strict=True)]


def _alignment(rows: list[list[Cell]], column: int) -> str:
    explicit, texts = [], []
    for row in rows:
        x = 0
        for cell in row:
            if x == column and cell.columns == 1:
                explicit.append(cell.align)
                texts.append(cell.plain.strip())
            x += cell.columns
    if explicit and explicit[0] and all(align == explicit[0] for align in explicit):
        return explicit[0]
    words = [text for text in texts if text not in _BLANK]
    if words and all(_NUMBER.fullmatch(text) and not _DATE.match(text) for text in words):
        return "right"
    return "left"


def from_html(source: str) -> list[Table]:
    """Read the tables of a piece of HTML; scripts, styles and everything outside tables are left out.

    Parameters
    ----------
    source : str
        HTML, however broken.

    Returns
    -------
    list of Table
        In order; a table inside a table's cell becomes part of that cell's text.

    Examples
    --------
    >>> table, = from_html("<table><tr><th>zone<th>trips<tr><td>Alphabet City<td>1,204</table>")
    >>> [cell.plain for cell in table.body[0]]
    ['Alphabet City', '1,204']
    """
    reader = _Reader()
    reader.feed(source)
    reader.close()
    reader.end_table()
    return reader.tables


_MARKS = {"b": "strong", "strong": "strong", "i": "emph", "em": "emph", "code": "code"}
_SILENT = ("script", "style", "head", "title")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[Table] = []
        self.table: Table | None = None
        self.nested = 0
        self.section = "body"
        self.row: list[Cell] | None = None
        self.row_headers: list[bool] = []
        self.cell: Cell | None = None
        self.parts: list[str] = []
        self.marks: list[str] = []
        self.silent = 0
        self.caption: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        options = {name: text or "" for name, text in attrs}
        if tag in _SILENT:
            self.silent += 1
        elif tag == "table":
            if self.table is None:
                self.table, self.section = Table(), "body"
            else:
                self.nested += 1
        elif self.table is None or self.nested:
            return
        elif tag in ("thead", "tbody", "tfoot"):
            self.end_row()
            self.section = {"thead": "head", "tbody": "body", "tfoot": "foot"}[tag]
        elif tag == "tr":
            self.end_row()
            self.row, self.row_headers = [], []
        elif tag in ("td", "th"):
            self.end_cell()
            if self.row is None:
                self.row, self.row_headers = [], []
            self.row_headers.append(tag == "th")
            self.cell = Cell(
                align=_css_align(options), columns=_span(options.get("colspan")), rows=_span(options.get("rowspan"))
            )
        elif tag == "caption":
            self.caption = []
        elif tag == "br" and self.cell is not None:
            self.parts.append("linebreak()")
            self.cell.plain += " "
        elif tag in _MARKS:
            self.marks.append(_MARKS[tag])

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self.silent = max(0, self.silent - 1)
        elif tag == "table":
            if self.nested:
                self.nested -= 1
            else:
                self.end_table()
        elif self.nested:
            return
        elif tag in ("td", "th"):
            self.end_cell()
        elif tag in ("tr", "thead", "tbody", "tfoot"):
            self.end_row()
            self.section = "body" if tag == "thead" else self.section
        elif tag == "caption" and self.caption is not None and self.table is not None:
            self.table.caption = " ".join("".join(self.caption).split())
            self.caption = None
        elif tag in _MARKS and _MARKS[tag] in self.marks:
            self.marks.remove(_MARKS[tag])

    def handle_data(self, data: str) -> None:
        if self.silent:
            return
        if self.caption is not None:
            self.caption.append(data)
        elif self.cell is not None:
            words = re.sub(r"[ \t\r\n]+", " ", data)
            self.cell.plain += words
            part = typst.raw(words) if "code" in self.marks else typst.text(words)
            for mark in dict.fromkeys(self.marks):
                part = part if mark == "code" else typst.call(mark, part)
            if words:
                self.parts.append(part)

    def end_cell(self) -> None:
        if self.cell is not None and self.row is not None:
            self.cell.content = typst.block(self.parts) if self.cell.plain.strip() else typst.EMPTY
            self.row.append(self.cell)
        self.cell, self.parts, self.marks = None, [], []

    def end_row(self) -> None:
        self.end_cell()
        if self.row and self.table is not None:
            # without <thead>, a first row of headers only is the head
            bare_head = self.section == "body" and not self.table.body and not self.table.head and all(self.row_headers)
            getattr(self.table, "head" if bare_head else self.section).append(self.row)
            if self.section == "body" and not bare_head:
                leading = [*self.row_headers, False].index(False)
                self.table.labels = max(self.table.labels, sum(cell.columns for cell in self.row[:leading]))
        self.row = None

    def end_table(self) -> None:
        self.end_row()
        if self.table is not None:
            self.tables.append(self.table)
        self.table, self.nested, self.caption = None, 0, None


def _css_align(options: dict[str, str]) -> str | None:
    found = re.search(r"text-align:\s*(left|right|center)", options.get("style", "")) or re.fullmatch(
        r"(left|right|center)", options.get("align", "")
    )
    return found.group(1) if found else None


def _span(text: str | None) -> int:
    return min(max(int(text), 1), _MOST) if text and text.isdecimal() and len(text) < 6 else 1
