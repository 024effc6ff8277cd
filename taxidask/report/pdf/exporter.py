"""The nbconvert exporter ``taxidask-pdf``: notebook → Typst → PDF."""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import os
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from nbconvert.exporters.exporter import Exporter
from nbformat import NotebookNode
from traitlets import Bool, Int, Unicode, default
from traitlets.config import Config

from taxidask.errors import ReportError
from taxidask.report.kernel import FROM, execute
from taxidask.report.pdf import markdown, tables, typst, web

HEADER = "application/vnd.taxidask.report+json"
_LARGEST_PICTURE = 64 << 20  # bytes
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif"}
_PICTURE_TYPES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
_PREVIEW = 400  # lines of text output; the rest is counted, not printed


def asset(name: str) -> Path:
    """The file `name` of the report: inside an installed package, or in ``report/`` of a checkout."""
    packaged = Path(str(files("taxidask.report"))) / "assets" / name
    checkout = Path(str(files("taxidask"))).parent / "report" / name
    for path in (packaged, checkout):
        if path.is_file():
            return path
    raise ReportError(f"the report's {name} is neither at {packaged} nor at {checkout}", "install taxidask again")


class TypstPDFExporter(Exporter):
    """Export a notebook to PDF with Typst: no TeX, no browser, no network.

    Code is hidden unless its cell has the tag ``show-input`` (or ``exclude_input`` is false); the tags ``remove-cell``
    and ``remove-output`` leave out what they say. A notebook that was never executed is executed first.

    Examples
    --------
    On the command line::

        jupyter nbconvert --to taxidask-pdf report/report.ipynb
    """

    output_mimetype = "application/pdf"
    export_from_notebook = "PDF via Typst"

    exclude_input = Bool(True, help="Leave out the code of cells without the tag show-input.").tag(config=True)
    execute_if_needed = Bool(True, help="Execute a notebook none of whose code cells has run.").tag(config=True)
    timeout = Int(600, help="Seconds one cell may take when the exporter executes the notebook.").tag(config=True)
    template_file = Unicode(
        help="A Typst file that defines report(), data-table(), code-cell() and failure() (default: the package's own)."
    ).tag(config=True)

    @default("file_extension")
    def _file_extension_default(self) -> str:
        return ".pdf"

    @property
    def default_config(self) -> Config:
        """Tags that are honoured from the start; a user's configuration is merged over it."""
        config = Config(
            {
                "TagRemovePreprocessor": {
                    "enabled": True,
                    "remove_cell_tags": {"remove-cell"},
                    "remove_all_outputs_tags": {"remove-output"},
                },
                "CoalesceStreamsPreprocessor": {"enabled": True},
                "ExecutePreprocessor": {"timeout": 600},
            }
        )
        config.merge(super().default_config)
        return config

    def from_notebook_node(
        self, nb: NotebookNode, resources: Any | None = None, **kw: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Convert a notebook to the bytes of a PDF.

        Parameters
        ----------
        nb : NotebookNode
            The notebook; it is not changed.
        resources : dict, optional
            nbconvert's resources; ``metadata.path`` is where relative pictures are looked for.
        **kw
            Unused; nbconvert passes them through.

        Returns
        -------
        tuple of (bytes, dict)
            The PDF and the resources.
        """
        nb = copy.deepcopy(nb)
        folder = ((resources or {}).get("metadata") or {}).get("path") or "."
        if self.execute_if_needed and _never_ran(nb) and not self._executes():
            nb = execute(nb, folder=folder, timeout=self.timeout)
        with _launched_here():
            nb, resources = super().from_notebook_node(nb, resources, **kw)
        resources["output_extension"] = self.file_extension
        pictures = Pictures(Path(folder))
        template = Path(self.template_file) if self.template_file else asset("template.typ")
        style = {"template.typ": template.read_bytes()}
        header = _header(nb, resources)
        stamp = header.get("created")
        source = self._document(nb, header, pictures)
        try:
            return typst.compile_pdf(source, style | pictures.files, timestamp=stamp, warn=self.log.warning), resources
        except ReportError:
            if not pictures.drop_unreadable():
                raise
        source = self._document(nb, header, pictures)
        return typst.compile_pdf(source, style | pictures.files, timestamp=stamp, warn=self.log.warning), resources

    def _executes(self) -> bool:
        return bool(self.config.ExecutePreprocessor.get("enabled", False))

    def _document(self, nb: NotebookNode, header: dict[str, Any], pictures: Pictures) -> str:
        """The main Typst document."""
        language = nb.metadata.get("language_info", {}).get("name") or "python"
        options = {key: typst.value(header[key]) for key in ("title", "subtitle", "details") if header.get(key)}
        lines = [
            '#import "template.typ": report, data-table, code-cell, failure',
            f"#show: {typst.call('report.with', **options)}",
        ]
        for cell in nb.cells:
            parts = self._cell(cell, language, pictures)
            lines += [f"#{part}" for part in parts]
        return "\n".join(lines) + "\n"

    def _cell(self, cell: NotebookNode, language: str, pictures: Pictures) -> list[str]:
        if cell.cell_type == "markdown":
            local = pictures.of_cell(cell.get("attachments") or {})
            return [markdown.to_typst(cell.source, pictures=local)] if cell.source.strip() else []
        if cell.cell_type != "code":
            return []  # a raw cell is meant for another format
        parts = []
        tags = cell.metadata.get("tags", [])
        shown = "show-input" in tags or not self.exclude_input
        if shown and not {"remove-input", "hide-input"} & set(tags) and cell.source.strip():
            parts.append(typst.call("code-cell", typst.raw(cell.source, lang=language, display=True)))
        parts += [part for output in cell.outputs for part in [_output(output, pictures)] if part]
        return parts


@contextmanager
def _launched_here() -> Iterator[None]:
    """Tell a kernel that works in the notebook's folder from where the command was given."""
    known = os.environ.get(FROM)
    os.environ[FROM] = known or str(Path.cwd())
    try:
        yield
    finally:
        if known is None:
            del os.environ[FROM]


def _never_ran(nb: NotebookNode) -> bool:
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
    return bool(code) and not any(cell.outputs or cell.execution_count for cell in code)


def _header(nb: NotebookNode, resources: dict[str, Any]) -> dict[str, Any]:
    """What stands on top of the report: told by a cell's output, else the notebook's title or name."""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(HEADER)
            if isinstance(found, dict) and found.get("title"):
                created = found.get("created")
                return found | {"created": int(created) if isinstance(created, int | float) else None}
    title = nb.metadata.get("title")
    if title:
        return {"title": title}
    first = next((cell.source for cell in nb.cells if cell.cell_type == "markdown"), "")
    if re.match(r"#\s", first):
        return {}  # the notebook brings its own title
    return {"title": (resources.get("metadata") or {}).get("name") or "Notebook"}


# -- outputs -----------------------------------------------------------------------------------------------------------


def _output(output: NotebookNode, pictures: Pictures) -> str:
    kind = output.output_type
    if kind == "stream":
        return _lines(output.text)
    if kind == "error":
        trace = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
        return typst.call("failure", typst.raw(typst.plain(trace), display=True))
    return _display(output.get("data", {}), output.get("metadata", {}), pictures)


def _display(data: dict[str, Any], metadata: dict[str, Any], pictures: Pictures) -> str:
    if HEADER in data:
        return ""
    for mime in _PICTURE_TYPES:
        if mime in data:
            told = metadata.get(mime) or {}
            return _picture(mime, data[mime], told, str(data.get("text/plain", "")), pictures)
    page = ""
    if "text/html" in data:
        source = _joined(data["text/html"])
        caption = (metadata.get("text/html") or {}).get("caption")
        page = web.to_typst(source, pictures=pictures.of_cell({}), add=pictures.add, caption=caption)
        if page and tables.from_html(source):
            return page
    if "text/markdown" in data:
        return markdown.to_typst(_joined(data["text/markdown"]))
    if "text/latex" in data:
        return markdown.to_typst(f"\n$$\n{_joined(data['text/latex']).strip().strip('$').strip()}\n$$\n")
    if page:
        return page
    plain = _joined(data.get("text/plain", ""))
    if "text/html" in data and re.fullmatch(r"\s*(<.*>)?\s*", plain, re.DOTALL):  # no more than which object it is
        return typst.call("emph", typst.text("An output that only a browser shows."))
    return _lines(plain)


def _picture(mime: str, content: Any, told: dict[str, Any], plain: str, pictures: Pictures) -> str:
    try:
        payload = _joined(content).encode() if mime == "image/svg+xml" else base64.b64decode(_joined(content))
    except (binascii.Error, ValueError):
        payload = b""
    alt = str(told.get("alt") or told.get("caption") or plain)
    caption = typst.block([typst.text(told["caption"])]) if told.get("caption") else None
    path = pictures.add(payload)
    if path is None:
        body = typst.call("emph", typst.text(f"A picture that cannot be drawn: {alt}"))
    else:
        body = typst.call("image", typst.literal(path), alt=typst.literal(alt))
    if caption is None:
        return typst.call("align", "center", body)
    return typst.call("figure", body, kind="image", caption=caption)


def _lines(text: str) -> str:
    lines = typst.plain(text).rstrip().split("\n")
    if lines == [""]:
        return ""
    if len(lines) > _PREVIEW:
        lines = [*lines[:_PREVIEW], f"… {len(lines) - _PREVIEW:,} more lines"]
    return typst.raw("\n".join(lines), display=True)


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else str(text)


class Pictures:
    """The pictures of one document: named by their content, checked by their first bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.unreadable: set[str] = set()

    def add(self, payload: bytes) -> str | None:
        """Take a picture in; its path in the document, or None for what is no picture Typst can draw."""
        kind = _kind(payload)
        if kind is None or len(payload) > _LARGEST_PICTURE:
            return None
        name = f"picture-{hashlib.sha256(payload).hexdigest()[:24]}.{kind}"
        if name in self.unreadable:
            return None
        self.files[name] = payload
        return name

    def of_cell(self, attachments: dict[str, dict[str, str]]) -> markdown.Pictures:
        """How the Markdown of one cell finds its pictures; nothing is ever fetched from the network."""

        def find(address: str) -> str | None:
            try:
                if address.startswith("attachment:"):
                    bundle = attachments.get(urllib.parse.unquote(address.removeprefix("attachment:")), {})
                    return self.add(base64.b64decode(next(iter(bundle.values()), "")))
                if address.startswith("data:"):
                    head, _, body = address.partition(",")
                    raw = base64.b64decode(body) if head.endswith(";base64") else urllib.parse.unquote_to_bytes(body)
                    return self.add(raw)
                if urllib.parse.urlsplit(address).scheme:
                    return None
                path = self.folder / urllib.parse.unquote(address)
                if path.is_file() and path.stat().st_size <= _LARGEST_PICTURE:
                    return self.add(path.read_bytes())
            except (ValueError, OSError):
                return None
            return None

        return find

    def drop_unreadable(self) -> bool:
        """Try every picture on its own and leave out those that cannot be drawn; True if there was one."""
        for name, payload in list(self.files.items()):
            try:
                typst.compile_pdf(f"#image({typst.literal(name)})", {name: payload})
            except ReportError:
                self.unreadable.add(name)
                del self.files[name]
        return bool(self.unreadable)


def _kind(payload: bytes) -> str | None:
    for signature, kind in _SIGNATURES.items():
        if payload.startswith(signature):
            return kind
    if payload[:4] == b"RIFF" and payload[8:12] == b"WEBP":
        return "webp"
    return "svg" if b"<svg" in payload[:4096] else None
