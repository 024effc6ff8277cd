"""Typst source as code expressions: any text becomes a string literal, so nothing in it can act as markup.

Typst's markup has many special characters, some of them only at the start of a line. Everything here is therefore
written in Typst's *code* mode, where text is a quoted string in which just the backslash and the quote are special.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from taxidask.errors import ReportError

EMPTY = "[]"
FOLDERS = "TYPST_FONT_PATHS"
_FONT_FILES = (".ttf", ".otf", ".ttc", ".otc")
_NAMED = 10  # letters without a font that a warning names
LONGEST_WORD = 28  # characters: a longer word gets places where it may break, so that no path or hash leaves the page

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_LONG = re.compile(rf"[^\s\u200b]{{{LONGEST_WORD},}}")
_IN_TYPST = re.compile(
    "[\u0900-\u097f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)  # Devanagari; what chooses a variant of a letter
_SCHEME = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)


def plain(text: object) -> str:
    """Text without terminal colours and without characters that no font draws (those show as �)."""
    cleaned = _ANSI.sub("", str(text)).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("\ufffd", cleaned)


def breakable(text: str) -> str:
    """Allow line breaks inside words longer than a table column, preferably after punctuation."""

    def broken(match: re.Match[str]) -> str:
        pieces = re.split(r"(?<=[/\\_.,:;=&?+\-])(?![/\\_.,:;=&?+\-])", match.group())
        parts = []
        for piece in pieces:
            start = 0
            for stop in range(LONGEST_WORD, len(piece), LONGEST_WORD):
                while stop < len(piece) and unicodedata.combining(piece[stop]):
                    stop += 1  # an accent stays with its letter
                parts.append(piece[start:stop])
                start = stop
            parts.append(piece[start:])
        return "\u200b".join(part for part in parts if part)

    return _LONG.sub(broken, text)


def literal(text: object) -> str:
    r"""A Typst string literal of exactly this text.

    Examples
    --------
    >>> print(literal('a "b" #c \\ $x$'))
    "a \"b\" #c \\ $x$"
    """
    quoted = plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{quoted}"'


def text(value: object) -> str:
    """Running text: a string literal whose long words may break."""
    return literal(breakable(plain(value)))


def block(parts: Iterable[str]) -> str:
    """Several expressions joined into one piece of content.

    Examples
    --------
    >>> block(['"a"', 'strong("b")'])
    '{[]; "a"; strong("b")}'
    """
    # the leading [] makes the whole content, never a bare string or none, whatever the parts are
    return "{" + "; ".join([EMPTY, *parts]) + "}"


def call(function: str, *arguments: str, **named: str) -> str:
    """A call of a Typst function; underscores in names become hyphens.

    Examples
    --------
    >>> call("figure", '[]', alt='"x"')
    'figure(alt: "x", [])'
    """
    options = [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
    return f"{function}({', '.join([*options, *arguments])})"


def value(thing: Any) -> str:
    """A Python value (None, bool, number, text, list or dict) as a Typst value.

    Examples
    --------
    >>> value({"a": [1, "x", None]})
    '("a": (1, "x", none,))'
    """
    if thing is None:
        return "none"
    if isinstance(thing, bool):
        return "true" if thing else "false"
    if isinstance(thing, int | float) and thing == thing and abs(thing) != float("inf"):
        return repr(thing)
    if isinstance(thing, dict):
        return "(" + (", ".join(f"{literal(k)}: {value(v)}" for k, v in thing.items()) or ":") + ")"
    if isinstance(thing, list | tuple):
        return "(" + "".join(f"{value(item)}, " for item in thing).rstrip() + ")"
    return literal(thing)


def raw(source: object, *, lang: str | None = None, display: bool = False) -> str:
    """Program text in a fixed-width face."""
    options = {"lang": literal(lang)} if lang else {}
    return call("raw", text(str(source).expandtabs(4)), block="true" if display else "false", **options)


def link(url: str, body: str) -> str:
    """A link to the web or a mail address; any other target is left out and only the body stays."""
    address = plain(url).strip()
    if not _SCHEME.match(address) or len(address) > 2000 or any(char.isspace() for char in address):
        return body
    return call("link", literal(address), body)


def _own_fonts() -> list[Path]:
    import matplotlib

    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf")
    return sorted(font for font in fonts if not font.name.startswith("LastResort"))  # it draws boxes for all there is


def _given_fonts() -> list[Path]:
    """Fonts in the folders of the variable that Typst's own command knows."""
    return sorted(
        font for folder in _folders() for font in Path(folder).rglob("*") if font.suffix.lower() in _FONT_FILES
    )


def _folders() -> list[str]:
    return [folder for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if Path(folder).is_dir() and folder]


@cache
def _fonts(*given: str, system: bool = False) -> Any:
    """Typst's own fonts, matplotlib's and those given. The machine's only for letters that those lack: they would make
    the report look different elsewhere."""
    import typst

    return typst.Fonts(include_system_fonts=system, font_paths=[_folder_of_own_fonts().name, *given])


@cache
def _folder_of_own_fonts() -> tempfile.TemporaryDirectory[str]:
    """A folder of matplotlib's fonts but for one, until the process ends: Typst takes folders, and no files."""
    folder = tempfile.TemporaryDirectory(prefix="taxidask-fonts-")
    for font in _own_fonts():
        Path(folder.name, font.name).symlink_to(font)
    return folder


def _without(letters: set[str], fonts: Iterable[Path | str]) -> set[str]:
    """The letters that none of the fonts draws."""
    from matplotlib.ft2font import FT2Font

    for font in fonts:
        if not letters:
            break
        with contextlib.suppress(OSError, RuntimeError):  # a damaged one
            known = FT2Font(str(font)).get_charmap()
            letters = {letter for letter in letters if ord(letter) not in known}
    return letters


def drawable(source: str, warn: Callable[[str], object] = lambda _: None) -> tuple[str, bool]:
    """The source with letters that no font at hand draws told by their numbers; whether the machine's fonts are needed.

    Which letters these are, and what is to be done, `warn` is told, and the document in its last line. Letters that are
    not drawn themselves, as joiners and variation selectors, stay.
    """
    beyond = {letter for letter in set(source) if ord(letter) > 0x2FF and not _IN_TYPST.match(letter)}
    foreign = _without(
        {letter for letter in beyond if unicodedata.category(letter) != "Cf"}, [*_own_fonts(), *_given_fonts()]
    )
    if not foreign:
        return source, False
    from matplotlib.font_manager import findSystemFonts

    missing = _without(foreign, findSystemFonts())
    if missing:
        runs = re.compile("[" + "".join(map(re.escape, sorted(missing))) + "]+")
        source = runs.sub(lambda run: "[" + " ".join(f"U+{ord(letter):04X}" for letter in run.group()) + "]", source)
        told = (
            f"{len(missing)} different characters are written as [U+…]: no font of this machine has them. "
            "With fonts that do (Debian: fonts-noto-core, fonts-noto-cjk, fonts-noto-color-emoji) they are drawn."
        )
        some = [f"{letter} (U+{ord(letter):04X})" for letter in sorted(missing)[:_NAMED]]
        more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        warn(
            f"no font has {', '.join(some)}{more}: the PDF shows [U+…] instead. Install a font that does (Debian: "
            f"fonts-noto-core, fonts-noto-cjk, fonts-noto-color-emoji), or set {FOLDERS} to a folder with one"
        )
        source += f"\n#{call('par', call('emph', text(told)))}\n"
    return source, True


def compile_pdf(
    source: str,
    files: dict[str, bytes],
    *,
    timestamp: int | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> bytes:
    """Compile Typst source to PDF, offline, with fonts that come with the Python packages (see `drawable`).

    Parameters
    ----------
    source : str
        The main document.
    files : dict of str to bytes
        Whatever the document reads: the template, pictures. Nothing else on the machine can be read by it.
    timestamp : int, optional
        Creation time written into the PDF, seconds since 1970.
    warn : callable, optional
        Is told which letters no font has.

    Returns
    -------
    bytes
        The PDF.

    Raises
    ------
    ReportError
        With the compiler's own message when the source is not valid.
    """
    import typst

    source, foreign = drawable(source, warn)
    fonts = _fonts(*_folders(), system=foreign)
    with tempfile.TemporaryDirectory(prefix="taxidask-typst-") as folder:
        main = Path(folder, "main.typ")
        main.write_text(source, encoding="utf-8")
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        try:
            document = typst.compile(main, root=Path(folder), format="pdf", font_paths=fonts, timestamp=timestamp)
        except RuntimeError as error:
            told = str(getattr(error, "diagnostic", "") or error).strip().replace(f"{folder}/", "")
            raise ReportError(
                f"the report could not be typeset: {told}",
                "look at the place it names in the template or in the notebook's output",
            ) from error
    return document
