"""Trips asked for and added: over a lake and what a store has beside it, each trip once.

Only for itself: answer, form, loading. Tests: tests/asking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .answer import Answer, ask_trips, save_trips
    from .filters import Question, question
    from .form import FormError, add_trip, read_form
    from .loading import Loaded, load_file

_MODULE = {
    "Answer": "answer",
    "FormError": "form",
    "Loaded": "loading",
    "Question": "filters",
    "add_trip": "form",
    "ask_trips": "answer",
    "load_file": "loading",
    "question": "filters",
    "read_form": "form",
    "save_trips": "answer",
}

__all__ = [
    "Answer",
    "FormError",
    "Loaded",
    "Question",
    "add_trip",
    "ask_trips",
    "load_file",
    "question",
    "read_form",
    "save_trips",
]
__getattr__, __dir__ = lazy(__name__, _MODULE)
