"""Figures are made once; what is read later only gives them other numbers."""

from __future__ import annotations

import asyncio
from importlib import import_module

import numpy as np
import panel as pn
import pytest

from taxidask.app.charts import DayChart
from taxidask.app.shell import PAGES, AppPage
from taxidask.app.state import AppState
from taxidask.results import Store
from taxidask.settings import Settings


@pytest.mark.parametrize("path", ["/overview", "/demand", "/data"])
def test_what_is_read_makes_no_new_models(path: str, filled: Store) -> None:
    # each would have Bokeh go through the whole page, while all other visitors wait
    page: AppPage = getattr(import_module(f"taxidask.app.pages.{path[1:]}"), PAGES[path])(AppState(filled, Settings()))
    plots = [pane.object for pane in pn.Column(*page.cards()).select(pn.pane.Bokeh)]
    made = {model for plot in plots for model in plot.references()}
    asyncio.run(page.refresh())
    assert {model for plot in plots for model in plot.references()} == made
    assert any(len(values) > 3 for model in made for values in getattr(model, "data", {}).values())


def test_the_legend_of_a_day_names_what_there_is() -> None:
    chart, some = DayChart(), np.arange(48.0)
    names = {"trips": "Sun 31 Jan", "mean": "expected", "other": "Sat 30 Jan"}

    def legend() -> list[str]:
        (found,) = chart.plot.above
        return [item.label.value for item in found.items if item.visible]

    chart.update({"trips": some}, names=names, direction="pickup", unit="30 min")
    assert legend() == ["Sun 31 Jan"]
    band = {"mean": some, "low": some - 1, "high": some + 1}
    chart.update({"trips": some, **band, "other": some}, names=names, direction="dropoff", unit="30 min")
    assert legend() == ["Sun 31 Jan", "expected", "Sat 30 Jan", "80 %"]
    chart.update(band, names=names, direction="pickup", unit="30 min")
    assert legend() == ["expected", "80 %"]
