"""What a notebook shows as HTML, written as Typst: its text, lists, tables and pictures; scripts never run."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser

from taxidask.report.pdf import markdown, tables, typst

# fmt: off
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "html", "legend", "main", "nav", "ol", "p", "section",
    "summary", "ul",
}
# fmt: on
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SILENT = ("script", "style", "head", "title", "template", "noscript", "select", "textarea", "math")
_WHOLE = ("table", "svg")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_MARKS = {"b": "strong", "strong": "strong", "i": "emph", "em": "emph", "s": "strike", "sub": "sub", "sup": "super"}
_UNSEEN = re.compile(r"display:\s*none|(?<![\w-])(?:width|height):\s*0(?:px)?\s*(?:;|$)", re.IGNORECASE)


def to_typst(
    source: str, *, pictures: markdown.Pictures, add: Callable[[bytes], str | None], caption: str | None
) -> str:
    """Write a piece of HTML as one Typst expression; empty if only a browser could show what it holds.

    Parameters
    ----------
    source : str
        HTML, however broken.
    pictures : callable
        The path in the document of an ``<img>``'s address, or None.
    add : callable
        The path in the document of an ``<svg>``.
    caption : str, optional
        Of its first table.
    """
    reader = _Reader(pictures, add, caption)
    reader.feed(source)
    reader.close()
    reader.end()
    return typst.block(reader.blocks) if reader.blocks else ""


class _Reader(HTMLParser):
    def __init__(self, pictures: markdown.Pictures, add: Callable[[bytes], str | None], caption: str | None) -> None:
        super().__init__(convert_charrefs=True)
        self.pictures, self.add, self.caption = pictures, add, caption
        self.blocks: list[str] = []
        self.parts: list[str] = []
        self.marks: list[str] = []
        self.links: list[str] = []
        self.lists: list[str] = []
        self.heading = 0
        self.item = False
        self.code = 0
        self.verbatim: list[str] | None = None
        self.unseen: tuple[str, int] | None = None  # a tag that hides what is in it, and how deep we are in its likes
        self.whole: tuple[str, int, list[str]] | None = None  # likewise for what is read as one piece

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        options = {name: text or "" for name, text in attrs}
        written = self.get_starttag_text() or ""
        if self.whole is not None:
            name, depth, pieces = self.whole
            pieces.append(written)
            self.whole = name, depth + (tag == name and not written.endswith("/>")), pieces
        elif self.unseen is not None:
            name, depth = self.unseen
            self.unseen = name, depth + (tag == name)
        elif tag not in _VOID and (tag in _SILENT or "hidden" in options or _UNSEEN.search(options.get("style", ""))):
            self.unseen = tag, 1
        elif tag in _WHOLE:
            self.flush()
            self.whole = tag, 1, [written]
        elif tag == "pre":
            self.flush()
            self.verbatim = []
        elif tag in _HEADINGS:
            self.flush()
            self.heading = _HEADINGS[tag]
        elif tag in ("ul", "ol"):
            self.flush()
            self.lists.append(tag)
        elif tag == "li":
            self.flush()
            self.item = True
        elif tag in _BLOCKS:
            self.flush()
        elif tag == "hr":
            self.flush()
            self.blocks.append("line(length: 100%, stroke: 0.4pt)")
        elif tag == "br":
            self.parts.append("linebreak()")
        elif tag == "img":
            self.flush()
            if options.get("src") or options.get("alt"):
                address, alt = options.get("src", ""), options.get("alt", "")
                self.blocks.append(markdown.picture(self.pictures, address, alt, display=True))
        elif tag == "a":
            self.links.append(options.get("href", ""))
        elif tag in ("code", "kbd", "samp", "tt"):
            self.code += 1
        elif tag in _MARKS:
            self.marks.append(_MARKS[tag])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.whole is not None:
            self.whole[2].append(self.get_starttag_text() or "")
        else:
            self.handle_starttag(tag, attrs)
            if tag not in _VOID:
                self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.whole is not None:
            name, depth, pieces = self.whole
            pieces.append(f"</{tag}>")
            self.whole = name, depth - (tag == name), pieces
            if self.whole[1] == 0:
                self.end_whole()
        elif self.unseen is not None:
            name, depth = self.unseen
            self.unseen = (name, depth - (tag == name)) if depth > (tag == name) else None
        elif tag == "pre":
            self.end_verbatim()
        elif tag in _HEADINGS or tag == "li" or tag in _BLOCKS:
            self.flush()
            if tag in ("ul", "ol") and self.lists:
                self.lists.pop()
        elif tag == "a" and self.links:
            self.links.pop()
        elif tag in ("code", "kbd", "samp", "tt"):
            self.code = max(0, self.code - 1)
        elif tag in _MARKS and _MARKS[tag] in self.marks:
            self.marks.remove(_MARKS[tag])

    def handle_data(self, data: str) -> None:
        if self.whole is not None:
            self.whole[2].append(html.escape(data))
        elif self.unseen is not None:
            return
        elif self.verbatim is not None:
            self.verbatim.append(data)
        elif words := re.sub(r"[ \t\r\n]+", " ", data):
            if words == " " and not self.parts:
                return
            part = typst.raw(words) if self.code else typst.text(words)
            for mark in dict.fromkeys(self.marks):
                part = typst.call(mark, part)
            self.parts.append(typst.link(self.links[-1], part) if self.links else part)

    def flush(self) -> None:
        """End a paragraph, heading or item, if there is any text in it."""
        if any(part not in ('" "', "linebreak()") for part in self.parts):
            body = typst.block(self.parts)
            if self.heading:
                body = typst.call("heading", body, level=str(self.heading), outlined="false")
            elif self.item and self.lists:
                body = typst.call("enum" if self.lists[-1] == "ol" else "list", body)
            else:
                body = typst.call("par", body)
            if self.lists and not self.heading:
                body = typst.call("pad", body, left=f"{len(self.lists) - 1}em")
            self.blocks.append(body)
        self.parts, self.heading, self.item = [], 0, False

    def end_verbatim(self) -> None:
        if self.verbatim is not None and (text := "".join(self.verbatim).strip("\n")).strip():
            self.blocks.append(typst.raw(typst.plain(text), display=True))
        self.verbatim = None

    def end_whole(self) -> None:
        if self.whole is None:
            return
        (name, _, pieces), self.whole = self.whole, None
        source = "".join(pieces)
        if name == "table":
            for table in tables.from_html(source):
                table.caption, self.caption = self.caption or table.caption, None
                self.blocks.append(table.to_typst())
        elif not re.match(r"<svg[^>]*\sxmlns=", source):
            source = source.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        if name == "svg" and (path := self.add(source.encode())):
            image = typst.call("image", typst.literal(path), alt=typst.literal("a drawing"))
            self.blocks.append(typst.call("align", "center", image))

    def end(self) -> None:
        """Whatever is still open at the end of the text is closed there."""
        self.end_whole()
        self.end_verbatim()
        self.flush()
