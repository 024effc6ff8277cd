"""Passwords and tokens in URLs: told, and kept out of whatever is shown or kept."""

from __future__ import annotations

import re
from urllib.parse import unquote

REMEDY = "URLs are kept with each run: leave credentials to the AWS chain (environment, profile, role)"

# also with the slashes that a path makes of a URL's two
_URL = re.compile(r"\w[\w+.-]*:/\S+")
# of the user part, which ends before the first slash, and of one with a password, in which slashes occur too
_USER = re.compile(r"(\w[\w+.-]*:/{1,3})(?!…@)(?:[^/?#@]+|[^/@]*:[^@]*)@")
_SECRET = re.compile(
    r"([?&;#](?:[\w.-]*(?:token|secret|passw|pwd|signature|credential|(?:api|access|private)[_-]?key)[\w.-]*"
    r"|sig|sas|key|auth|authorization|jwt)=)(?!…)[^&;#\s'\"]+",
    re.IGNORECASE,
)


def credential_in(url: str) -> str | None:
    """What of a URL may not be kept, as a sentence; None for nothing, and for paths.

    Examples
    --------
    >>> credential_in("s3://name:password@bucket/lake")
    'the URL s3://…@bucket/lake holds a password'
    >>> credential_in("s3://bucket/trips.csv?X-Amz-Signature=0a1b")
    'the URL s3://bucket/trips.csv?X-Amz-Signature=… holds a token'
    >>> credential_in("s3://bucket/trips?.csv"), credential_in("a:b@c?token=1.csv")
    (None, None)
    """
    if "://" not in url:
        return None
    for pattern, what in ((_USER, "password"), (_SECRET, "token")):
        if pattern.search(url) or pattern.search(unquote(url)):
            return f"the URL {_masked(url)} holds a {what}"
    return None


def hidden(text: str) -> str:
    """A text with the credentials of its URLs left out.

    Examples
    --------
    >>> hidden("cannot read https://name:password@host/a?token=0a1b&b=2: access denied")
    'cannot read https://…@host/a?token=…&b=2: access denied'
    """
    return _URL.sub(lambda url: _masked(url[0]), text) if ":/" in text else text


def _masked(url: str) -> str:
    shown = _SECRET.sub(r"\1…", _USER.sub(r"\1…@", url))
    if shown == url and any(pattern.search(unquote(url)) for pattern in (_USER, _SECRET)):
        return f"{url.partition('://')[0]}://…"
    return shown
