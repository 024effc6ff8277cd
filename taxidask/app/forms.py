"""A form made of the settings' own fields: their names, defaults and descriptions, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import panel as pn
import panel_material_ui as pmui
from pydantic import BaseModel

from taxidask.app import style
from taxidask.errors import SettingsError
from taxidask.settings import Settings

FIRST = ("sources", "lake", "report", "space", "slot", "horizon", "compute", "workers", "worker_memory")
"""What most runs differ in; all else is behind a switch."""

_NO_SOURCES = SettingsError("sources: a run needs some", "a path, a folder or an s3:// URL, one a line")
_GRID = """
:host { display: grid !important; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr));
  gap: 8px 4px; align-items: start; }
"""


class SettingsForm:
    """Widgets for every setting but the store, which is that of the app.

    Parameters
    ----------
    base : Settings
        What the form begins with.
    store : str
        Where the run publishes: else it would not be seen here.

    Attributes
    ----------
    widgets : dict of str to widget
    view : panel layout
    """

    def __init__(self, base: Settings, store: str) -> None:
        self._base, self._store = base, store
        self._begun = {name: _text(getattr(base, name)) for name in Settings.model_fields if name != "store"}
        self.widgets = {name: _widget(name, text) for name, text in self._begun.items()}
        self.more = pmui.Switch(label="All settings", value=False, margin=(6, 10))
        rest = pn.Column(sizing_mode="stretch_width", visible=False, stylesheets=[style.WHOLE])
        rest.append(_fields([widget for name, widget in self.widgets.items() if name not in FIRST]))
        self.more.param.watch(lambda event: setattr(rest, "visible", event.new), "value")
        self.view = pn.Column(
            _fields([self.widgets[name] for name in FIRST]),
            self.more,
            rest,
            sizing_mode="stretch_width",
            stylesheets=[style.WHOLE],
        )

    def settings(self) -> Settings:
        """The settings as they stand in the form.

        Raises
        ------
        SettingsError
            With what is wrong of each field; `show_errors` puts it beside them.
        """
        values: dict[str, Any] = {"store": self._store}
        for name, widget in self.widgets.items():
            if widget.value == self._begun[name]:
                values[name] = getattr(self._base, name)
            elif name == "sources":
                values[name] = [line.strip() for line in widget.value.splitlines() if line.strip()]
            elif widget.value.strip() or Settings.model_fields[name].default is not None:
                values[name] = widget.value.strip()
        made = Settings(**values)
        if not made.sources:
            error = SettingsError(_NO_SOURCES.message, _NO_SOURCES.remedy)
            error.fields["sources"] = error
            raise error
        if not made.report.lower().endswith(".pdf"):
            error = SettingsError(f"report: {made.report} is no name of a PDF", "end it in .pdf")
            error.fields["report"] = error
            raise error
        return made

    def show_errors(self, error: SettingsError | None) -> None:
        """Put what is wrong beside each field, or take it away (None)."""
        wrong = error.fields if error is not None else {}
        for name, widget in self.widgets.items():
            told = wrong.get(name)
            widget.error_state = told is not None
            widget.helper_text = str(told) if told is not None else Settings.model_fields[name].description or ""
        if any(name not in FIRST and name in self.widgets for name in wrong):
            self.more.value = True


def _widget(name: str, text: str) -> Any:
    about: dict[str, Any] = {
        "label": name.replace("_", " ").capitalize(),
        "value": text,
        "helper_text": Settings.model_fields[name].description or "",
        "sizing_mode": "stretch_width",
        "size": "small",
    }
    if name == "sources":
        return pmui.TextAreaInput(rows=2, auto_grow=True, max_rows=8, placeholder="one a line", **about)
    return pmui.TextInput(**about)


def _fields(widgets: list[Any]) -> pn.Column:
    """Widgets in as many columns as there is room for."""
    return pn.Column(*widgets, sizing_mode="stretch_width", stylesheets=[style.WHOLE, _GRID])


def _text(value: Any) -> str:
    """A value as a person writes it: nothing for none, a line a source, JSON for what has parts."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    if isinstance(value, (list, BaseModel)):
        parts = value.model_dump(mode="json") if isinstance(value, BaseModel) else [one.model_dump() for one in value]
        return json.dumps(parts)
    return str(value)
