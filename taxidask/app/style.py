"""How pages look, in light and dark: one style sheet on the theme's colours, and the few pieces of HTML they share.

Whatever comes from a store, a file or a visitor passes through `html.escape` here, and nowhere becomes markup.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

import panel as pn

FONT = "Roboto, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
CSS = """
:host { font-family: FONT; color: var(--panel-on-background-color, #202124);
  --muted: var(--panel-on-secondary-color, #4d5156);
  --line: color-mix(in srgb, var(--panel-on-background-color, #202124) 16%, transparent);
  --tint: color-mix(in srgb, var(--panel-on-background-color, #202124) 7%, transparent); }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 14px; margin: 0; }
.numbers div { border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; }
.numbers dt { font-size: 13px; color: var(--muted); margin: 0 0 4px; }
.numbers dd { font-size: 25px; margin: 0; line-height: 1.2; font-variant-numeric: tabular-nums; }
.numbers dd.note { font-size: 12px; color: var(--muted); margin-top: 3px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
caption { text-align: left; font-size: 13px; color: var(--muted); padding: 0 0 6px; }
th { text-align: left; font-weight: 600; color: var(--muted); border-bottom: 1px solid currentColor;
  padding: 6px 12px 6px 0; }
td { border-bottom: 1px solid var(--line); padding: 6px 12px 6px 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.number + .text { padding-left: 12px; }
td.text { max-width: 32em; overflow-wrap: break-word; }
.state { white-space: nowrap; font-weight: 600; }
.notice { border: 1px solid var(--line); border-left: 6px solid #0b57d0; border-radius: 6px; padding: 12px 16px;
  font-size: 15px; overflow-wrap: anywhere; }
.notice.error { border-left-color: #d93025; }
.notice.done { border-left-color: #188038; }
.notice small { display: block; margin-top: 6px; font: 13px/1.5 'Roboto Mono', Menlo, Consolas, monospace; }
details { font-size: 14px; margin: 10px 0 4px; }
summary { cursor: pointer; }
h3 { margin: 10px 0 4px; font-size: 15px; font-weight: 600; }
h2 { margin: 6px 0; font-size: 17px; font-weight: 600; }
p { margin: 0 0 8px; font-size: 14px; line-height: 1.5; }
p.below { margin: 10px 0 0; }
a { color: inherit; text-underline-offset: 3px; }
code { background: var(--tint); padding: 1px 5px; border-radius: 4px; overflow-wrap: anywhere; }
pre { background: var(--tint); padding: 10px 12px; border-radius: 6px; font-size: 12.5px; line-height: 1.45;
  overflow: auto; max-height: 24em; margin: 0; }
""".replace("FONT", FONT)
NAV_CSS = """
nav { display: flex; gap: 2px; overflow-x: auto; scrollbar-width: thin; font: 500 15px FONT;
  color: var(--panel-on-primary-color, #fff); }
nav p.below { margin: 10px 0 0; }
a { color: inherit; text-decoration: none; padding: 8px 12px; border-radius: 6px; white-space: nowrap; }
nav a:hover { background: color-mix(in srgb, currentColor 12%, transparent); }
nav a:focus-visible { outline: 2px solid currentColor; outline-offset: -2px; }
nav a[aria-current] { box-shadow: inset 0 -3px currentColor; border-radius: 6px 6px 0 0; }
""".replace("FONT", FONT)
# a column is else no higher than the window, and what follows lies over the rest of it
WHOLE = ":host { max-height: none !important; }"
THEME = "taxidask-theme"
"""The cookie with the theme that a visitor's system prefers, where the address names none."""
# A server learns that preference from no request. So the browser says it in a cookie, and asks again, but only when
# what it said last time (without a word: light) is no longer so, and only where it keeps cookies.
HEAD = """{% extends base %}{% block preamble %}{{ super() }}
<style>:root:root { background-color:
  var(--mui-palette-background-default, {{ "#121212" if theme_name == "dark" else "#fff" }}); }
#loader#loader { background: none; }</style>
<script>
{
  const said = () => document.cookie.match(/(?:^|; )THEME=(\\w+)/)?.[1] ?? "default"
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "default"
  if (!new URLSearchParams(location.search).has("theme") && said() !== system) {
    document.cookie = `THEME=${system}; path=/; max-age=31536000; samesite=lax`
    if (said() === system) {
      document.documentElement.style.background = system === "dark" ? "#121212" : "#fff"
      location.reload()
    }
  }
}
</script>{% endblock %}""".replace("THEME", THEME)
# told apart without colour, too
STATES = {"done": "✓", "running": "●", "failed": "✕", "dead": "✕", "interrupted": "❚❚", "cancelled": "■"}


def pane(text: str = "", *, inset: bool = False) -> pn.pane.HTML:
    """A piece of HTML on a page; `inset` where it lies in a card, beside widgets that keep a margin."""
    return pn.pane.HTML(text, stylesheets=[CSS], sizing_mode="stretch_width", margin=(0, 10) if inset else 0)


def put(pane: Any, text: str) -> None:
    """Change a pane's text; what did not change is not sent."""
    if pane.object != text:
        pane.object = text


def card(title: str, *objects: Any) -> pn.Column:
    """A titled part of a page."""
    # no Paper of Material's: it walks all models below it each time it is made, and a figure has dozens
    return pn.Column(
        pane(f"<h2>{html.escape(title)}</h2>", inset=True),
        *objects,
        sizing_mode="stretch_width",
        stylesheets=[":host { border: 1px solid color-mix(in srgb, var(--panel-on-background-color) 16%, transparent);"
                     " border-radius: 8px; padding: 10px 16px; }", WHOLE],
    )  # fmt: skip


def link(path: str, text: str, *, theme: str = "", current: str = "", **asked: str) -> Markup:
    """A link to a page, in the theme that was chosen; `current` is what it is the current one of.

    Examples
    --------
    >>> link("/runs", "r<1", theme="dark", run="r<1")
    "<a href='./runs?run=r%3C1&amp;theme=dark'>r&lt;1</a>"
    """
    query = urlencode(asked | ({"theme": theme} if theme else {}))
    mark = f" aria-current={current}" if current else ""
    return Markup(f"<a href='.{html.escape(path + (query and f'?{query}'))}'{mark}>{html.escape(text)}</a>")


def nav(pages: Iterable[tuple[str, str]], current: str, theme: str = "") -> str:
    """Links to all pages, the current one marked."""
    links = "".join(link(path, title, theme=theme, current="page" if path == current else "") for path, title in pages)
    return f"<nav aria-label='Pages'>{links}</nav>"


def notice(kind: str, text: str, remedy: str = "") -> str:
    """What is the matter, and below it what to do; an error is announced to screen readers at once.

    `kind` is "info", "error" or "done".
    """
    role = "alert" if kind == "error" else "status"
    below = f"<small>{html.escape(remedy)}</small>" if remedy else ""
    return f"<div class='notice {html.escape(kind)}' role='{role}'>{html.escape(text)}{below}</div>"


def numbers(entries: Iterable[tuple[str, str, str]]) -> str:
    """Key numbers as a list of terms: what, how much, and a note below it."""
    items = "".join(
        f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd><dd class='note'>{html.escape(note)}</dd></div>"
        for term, text, note in entries
    )
    return f"<dl class='numbers'>{items}</dl>"


def state(name: str) -> str:
    """A run's or a stage's state with its sign."""
    return f"<span class='state'>{STATES.get(name, '○')} {html.escape(name)}</span>"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Any]], *, numeric: Sequence[str] = (), caption: str = ""
) -> str:
    """A table; cells are text and are escaped, but for `Markup`.

    Parameters
    ----------
    heads : sequence of str
    rows : iterable of sequences
        A cell a head.
    numeric : sequence of str
        Heads of columns that are set flush right.

    Examples
    --------
    >>> "<td class='number'>1,029</td>" in table(["Run", "Trips"], [["a<b", "1,029"]], numeric=["Trips"])
    True
    """
    kinds = ["number" if head in numeric else "text" for head in heads]
    head = "".join(
        f"<th scope='col' class='{kind}'>{html.escape(text)}</th>" for text, kind in zip(heads, kinds, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td class={kind!r}>{_cell(cell)}</td>' for cell, kind in zip(row, kinds, strict=True))}</tr>"
        for row in rows
    )
    told = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f"<div class='scroll' tabindex='0'><table>{told}<thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


_ARROW = (
    "%3Csvg xmlns='http://www.w3.org/2000/svg' width='10' height='6'%3E"
    "%3Cpath d='M0 0h10L5 6z' fill='%23808080'/%3E%3C/svg%3E"
)
_CHOICE = """
select.bk-input:not([multiple]) { font: 15px FONT; color: var(--panel-on-background-color, #202124);
  background-image: url("data:image/svg+xml,ARROW"); background-size: 10px 6px; }
select.bk-input:focus-visible { outline: 2px solid currentColor; outline-offset: 1px; }
option { background: var(--panel-background-color, #fff); color: var(--panel-on-background-color, #202124); }
""".replace("FONT", FONT).replace("ARROW", _ARROW)


def choice(label: str, options: dict[str, Any], *, width: int = 250) -> pn.widgets.Select:
    """A list to choose from, beginning with its first entry; on a phone no wider than what it lies in.

    It is the browser's own: Material's opens by mouse only, and this one is a phone's own picker there.
    """
    first = next(iter(options.values()))
    narrow = {"max-width": "calc(100% - 20px)"}
    return pn.widgets.Select(
        label=label, options=options, value=first, width=width, styles=narrow, stylesheets=[_CHOICE]
    )


class Markup(str):
    """HTML made here, which `table` takes as it is."""


def _cell(cell: Any) -> str:
    return cell if isinstance(cell, Markup) else html.escape(str(cell))
