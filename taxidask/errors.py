"""What can go wrong, as types. A message names the offender and the value; `remedy` says what to do about it."""

from __future__ import annotations

from taxidask.credentials import hidden
from taxidask.words import escaped


class TaxidaskError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    message : str
        What was wrong, with which value and where; credentials in its URLs are left out, control characters escaped.
    remedy : str, optional
        What the reader can do about it; shown after the message.

    Examples
    --------
    >>> print(TaxidaskError("the lake /tmp/lake has no source", "ingest one: lake.ingest('trips/*.csv')"))
    the lake /tmp/lake has no source; ingest one: lake.ingest('trips/*.csv')
    """

    _lines = False  # whether a message may be of several lines

    def __init__(self, message: str, remedy: str | None = None) -> None:
        message = escaped(hidden(message), lines=self._lines)
        remedy = remedy and escaped(hidden(remedy), lines=self._lines)
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class SettingsError(TaxidaskError):
    """A setting that is unknown, malformed or contradicts another.

    Attributes
    ----------
    fields : dict of str to SettingsError
        Of several settings at once, what is wrong with each, by its name; the error itself tells of the first.
    """

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.fields: dict[str, SettingsError] = {}


class StorageError(TaxidaskError):
    """Bytes that could not be read from or written to a URL."""


class RegionDarkError(TaxidaskError):
    """The active region did not take a write.

    Attributes
    ----------
    region, service : str
        Which; empty where it is several.
    """

    def __init__(self, message: str, remedy: str | None = None, *, region: str = "", service: str = "") -> None:
        super().__init__(message, remedy)
        self.region, self.service = region, service


class SourceError(TaxidaskError):
    """A file that cannot be read as trips."""


class UnknownHeaderError(SourceError):
    """A header that belongs to no known era."""


class SpaceError(TaxidaskError):
    """A grid or zones that make no sense, or do not fit the data."""


class NoSpaceError(SpaceError, SettingsError):
    """What was named as space is neither a known one nor a file."""


class CubeError(TaxidaskError):
    """Counts that cannot be a cube, or cubes that do not fit each other."""


class LakeError(TaxidaskError):
    """A lake that does not fit what is asked of it."""


class QuestionError(LakeError, SettingsError):
    """A question that makes no sense of any lake: no such column, a range the wrong way round."""


class ComputeError(TaxidaskError):
    """Workers that could not be reached or did not do their work."""

    _lines = True


class ModelError(TaxidaskError):
    """Data a model cannot be fitted on or asked about, or a model file that cannot be trusted."""


class TooFewError(ModelError):
    """Data of the right kind, but too little of it to fit a model on."""


class StoreError(TaxidaskError):
    """A store that is missing, denies access or did not take what was written."""


class RunError(TaxidaskError):
    """A run that is refused, cancelled or cannot be resumed."""


class ReportError(TaxidaskError):
    """A report that could not be built."""


class AccessError(TaxidaskError):
    """Something that this visitor of the app may not do."""
