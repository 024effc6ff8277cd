"""Waiting for new files, in the foreground."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from taxidask.cli.base import DONE, app, settings_of, with_settings


@app.command
@with_settings
def watch(
    *,
    every: str = "5min",
    looks: Annotated[int | None, Parameter(help="Stop after so many looks.")] = None,
    **given: Any,
) -> int:
    """Take new and changed files in as they come, until Ctrl-C or SIGTERM.

    What was counted is published at once, then the forecast; the models are fitted anew when their last forecasts were
    much worse than in their backtest, or than last week's counts. A file that is still being written waits.

    Example: `taxidask watch --sources 'trips/*.csv' --lake lake --every 5min`

    Parameters
    ----------
    every
        From one look at the sources to the next.
    """
    from taxidask.runs import watch as watch_sources

    watch_sources(settings_of(**given), every=every, looks=looks)
    return DONE
