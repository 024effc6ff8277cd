"""Markdown cells to Typst, through mistune's syntax tree."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from taxidask.report.pdf import tables, typst

#: Finds the bytes of a picture by its address in the Markdown; None when it is not at hand.
Pictures = Callable[[str], str | None]

_PLUGINS = ["table", "strikethrough", "footnotes", "task_lists", "math", "url", "superscript", "subscript"]
_DEEPEST = 12  # levels of quotes and lists; anything deeper is written at this level
_TAG = re.compile(r"<!--.*?(?:-->|\Z)|<[^>]*(?:>|\Z)", re.DOTALL)
_DELIMITER = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_IMAGE_TAG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\b(src|alt|width)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", re.IGNORECASE)


@cache
def _parser() -> Any:
    import mistune

    return mistune.create_markdown(renderer="ast", plugins=_PLUGINS)


def to_typst(source: str, *, pictures: Pictures | None = None) -> str:
    r"""Turn Markdown into one Typst expression.

    Headings, lists and task lists, tables, emphasis, code, links, pictures, quotes, footnotes and mathematics are
    understood; raw HTML is reduced to its text, tables and pictures. Whatever is not understood is shown as it was
    written, and nothing in it can act as Typst code.

    Parameters
    ----------
    source : str
        Markdown as Jupyter understands it.
    pictures : callable, optional
        Gives the Typst path of the picture at an address (``attachment:map.png``, a relative path, a ``data:`` URL),
        or None when there is none; its alternative text is shown instead.

    Returns
    -------
    str
        A Typst expression in code mode.

    Examples
    --------
    >>> print(to_typst("# Fares\n\nUp by *5 %* #not-code"))
    {[]; heading(level: 1, {[]; "Fares"}); par({[]; "Up by "; emph({[]; "5 %"}); " #not-code"})}
    """
    writer = _Writer(pictures or (lambda _address: None))
    try:
        tree = _parser()(_even_rows(typst.plain(source)))
    except RecursionError:  # thousands of brackets: nobody's prose, so show it as it is
        return typst.raw(source, display=True)
    return writer.document(tree)


def _even_rows(source: str) -> str:
    """Give every row of a table the head's number of cells, as GitHub and Jupyter do; mistune wants them even."""
    lines = source.split("\n")
    width, fence = 0, ""
    for number, line in enumerate(lines):
        bare = line.strip()
        if fence or bare[:3] in ("```", "~~~"):
            fence = "" if fence and bare.startswith(fence) else fence or bare[:3]
            width = 0
        elif "|" not in bare:
            width = 0
        elif width:
            cells = _cells(bare)
            if len(cells) != width:
                lines[number] = "| " + " | ".join([*cells, *[""] * width][:width]) + " |"
        elif number and _DELIMITER.fullmatch(bare) and len(_cells(bare)) == len(_cells(lines[number - 1].strip())):
            width = len(_cells(bare))
    return "\n".join(lines)


def _cells(row: str) -> list[str]:
    return re.split(r"(?<!\\)\|", row.removeprefix("|").removesuffix("|"))


class _Writer:
    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self.notes: dict[str, list[dict[str, Any]]] = {}
        self.depth = 0

    def document(self, tree: list[dict[str, Any]]) -> str:
        for token in tree:
            if token["type"] == "footnotes":
                self.notes = {note["attrs"]["key"]: note["children"] for note in token["children"]}
        return self.blocks(tree)

    # blocks -----------------------------------------------------------------------------------------------------

    def blocks(self, tokens: Iterable[Mapping[str, Any]]) -> str:
        return typst.block(part for token in tokens for part in [self.block(token)] if part)

    def block(self, token: Mapping[str, Any]) -> str:
        match token["type"]:
            case "blank_line" | "footnotes":
                return ""
            case "paragraph":
                return self.paragraph(token["children"])
            case "block_text":
                return self.inlines(token["children"])
            case "heading":
                return typst.call("heading", self.inlines(token["children"]), level=str(token["attrs"]["level"]))
            case "thematic_break":
                return "line(length: 100%, stroke: 0.5pt + luma(70%))"
            case "block_code":
                info = (token.get("attrs") or {}).get("info") or ""
                return typst.raw(token["raw"].rstrip("\n"), lang=info.split(" ")[0] or None, display=True)
            case "block_math":
                return typst.call("align", "center", formula(token["raw"], display=True))
            case "block_quote":
                return typst.call("quote", self.nested(token["children"]), block="true")
            case "list":
                return self.list(token)
            case "table":
                return self.table(token)
            case "block_html":
                return self.html(token["raw"])
            case _:
                return self.unknown(token)

    def nested(self, tokens: Iterable[Mapping[str, Any]]) -> str:
        self.depth += 1
        try:
            if self.depth > _DEEPEST:
                return typst.text(_text_of(tokens))
            return self.blocks(tokens)
        finally:
            self.depth -= 1

    def flowing(self, tokens: list[dict[str, Any]]) -> str:
        """Blocks of which the first, if it is a paragraph, goes on in the line."""
        if tokens and tokens[0]["type"] in ("paragraph", "block_text"):
            return typst.block([self.inlines(tokens[0]["children"]), self.nested(tokens[1:])])
        return self.nested(tokens)

    def paragraph(self, children: list[dict[str, Any]]) -> str:
        if len(children) == 1 and children[0]["type"] == "image":
            return self.image(children[0], display=True)
        return typst.call("par", self.inlines(children))

    def list(self, token: Mapping[str, Any]) -> str:
        items = []
        for item in token["children"]:
            if item["type"] == "task_list_item":
                box = "☑" if item["attrs"]["checked"] else "☐"
                items.append(typst.block([typst.literal(f"{box} "), self.flowing(item["children"])]))
            else:
                items.append(self.nested(item["children"]))
        tight = "true" if token.get("tight", True) else "false"
        attrs = token["attrs"]
        if attrs.get("ordered"):
            return typst.call("enum", *items, tight=tight, start=str(attrs.get("start", 1)))
        return typst.call("list", *items, tight=tight)

    def table(self, token: Mapping[str, Any]) -> str:
        head: list[list[tables.Cell]] = []
        body: list[list[tables.Cell]] = []
        for part in token["children"]:
            rows = [part] if part["type"] == "table_head" else part["children"]
            for row in rows:
                cells = [
                    tables.Cell(
                        self.inlines(cell["children"]), plain=_text_of(cell["children"]), align=cell["attrs"]["align"]
                    )
                    for cell in row["children"]
                ]
                (head if part["type"] == "table_head" else body).append(cells)
        return tables.Table(head, body).to_typst()

    def html(self, raw: str) -> str:
        parts = [table.to_typst() for table in tables.from_html(raw)]
        outside = re.sub(r"<table\b.*?(?:</table>|\Z)", "", raw, flags=re.DOTALL | re.IGNORECASE)
        parts += [self.image_tag(tag) for tag in _IMAGE_TAG.findall(outside)]
        rest = html.unescape(_TAG.sub("", _BREAK.sub("\n", outside))).strip()
        if rest:
            parts.append(typst.call("par", typst.text(rest)))
        return typst.block(parts)

    # inlines ----------------------------------------------------------------------------------------------------

    def inlines(self, tokens: Iterable[Mapping[str, Any]]) -> str:
        return typst.block(self.inline(token) for token in tokens)

    def inline(self, token: Mapping[str, Any]) -> str:
        match token["type"]:
            case "text":
                return typst.text(html.unescape(token["raw"]))
            case "softbreak":
                return '" "'
            case "linebreak":
                return "linebreak()"
            case "emphasis":
                return typst.call("emph", self.inlines(token["children"]))
            case "strong":
                return typst.call("strong", self.inlines(token["children"]))
            case "strikethrough":
                return typst.call("strike", self.inlines(token["children"]))
            case "superscript":
                return typst.call("super", self.inlines(token["children"]))
            case "subscript":
                return typst.call("sub", self.inlines(token["children"]))
            case "codespan":
                return typst.raw(html.unescape(token["raw"]))
            case "inline_math":
                return formula(token["raw"])
            case "link":
                return typst.link(html.unescape(token["attrs"]["url"]), self.inlines(token["children"]))
            case "image":
                return self.image(token, display=False)
            case "inline_html":
                return self.inline_html(token["raw"])
            case "footnote_ref":
                note = self.notes.pop(token["raw"], None)  # popped: a note that cites itself must not recurse
                return (
                    typst.call("footnote", self.flowing(note)) if note is not None else typst.text(f"[{token['raw']}]")
                )
            case _:
                return self.unknown(token)

    def inline_html(self, raw: str) -> str:
        if _BREAK.fullmatch(raw):
            return "linebreak()"
        if _IMAGE_TAG.fullmatch(raw):
            return self.image_tag(raw)
        return typst.EMPTY  # the tag goes, its text stays: it comes as tokens of its own

    def image(self, token: Mapping[str, Any], *, display: bool) -> str:
        return picture(self.pictures, token["attrs"]["url"], _text_of(token["children"]), display=display)

    def image_tag(self, tag: str) -> str:
        found = {name.lower(): html.unescape(a or b or c) for name, a, b, c in _ATTRIBUTE.findall(tag)}
        return picture(self.pictures, found.get("src", ""), found.get("alt", ""), display=True)

    def unknown(self, token: Mapping[str, Any]) -> str:
        if children := token.get("children"):
            return self.inlines(children)
        return typst.text(token.get("raw", ""))


def picture(pictures: Pictures, address: str, alt: str, *, display: bool) -> str:
    """A picture, or its alternative text (with a link, if it is on the web) where the picture is not at hand."""
    path = pictures(address)
    if path is None:
        return typst.link(address, typst.call("emph", typst.text(alt or address or "picture")))
    image = typst.call("image", typst.literal(path), alt=typst.literal(alt))
    return typst.call("align", "center", image) if display else typst.call("box", image, height="1.2em")


def formula(source: str, *, display: bool = False) -> str:
    """Mathematics, drawn by matplotlib's subset of TeX; what that does not know is shown as it was written."""
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser, math_to_image

    tex = " ".join(typst.plain(source).split())
    if not tex or "\ufffd" in tex or "$" in tex or len(tex) > 500:
        return typst.raw(source)
    drawn = io.BytesIO()
    try:
        with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "taxidask"}):
            warnings.simplefilter("ignore")  # a glyph missing from the fonts shows as a box
            font = FontProperties(size=12 if display else 10.5, math_fontfamily="stix")
            width, height, *_ = MathTextParser("path").parse(f"${tex}$", dpi=72, prop=font)
            if not (width > 0 and height > 0):  # blanks alone: nothing to draw
                return typst.raw(source)
            depth = math_to_image(f"${tex}$", drawn, prop=font, dpi=72, format="svg")
    except (ValueError, RuntimeError, RecursionError, LookupError):
        return typst.raw(source)
    svg = typst.call("bytes", typst.literal(drawn.getvalue().decode()))
    image = typst.call("image", svg, format='"svg"', alt=typst.literal(tex))
    return typst.call("box", image, baseline=f"{max(depth, 0):.2f}pt")


def _text_of(tokens: Iterable[Mapping[str, Any]] | None) -> str:
    return "".join(
        _text_of(token["children"]) if "children" in token else html.unescape(token.get("raw", " "))
        for token in tokens or ()
    )
