"""Bearer tokens: out of a file or an environment variable, never off the command line, where every user of a machine sees them."""

from __future__ import annotations

import hashlib
import hmac
import os
import string
from pathlib import Path

from privmed.errors import KeyFileError
from privmed.limits import read_text

VARIABLE = "PRIVMED_TOKEN"
SHORTEST = 16
ALLOWED = frozenset(string.ascii_letters + string.digits + "-._~+/=")  # RFC 6750


def tokens(path: str | os.PathLike[str] | None) -> list[str]:
    """The tokens of a file, one a line (``#`` begins a comment), or else that of ``PRIVMED_TOKEN``; none if there is neither.

    Raises:
        KeyFileError: when the file cannot be read or holds none, or one is too short or could not be sent.
    """
    if path is None:
        given = os.environ.get(VARIABLE)
        return [] if given is None else [_checked(given.strip(), VARIABLE)]
    try:
        lines = read_text(path, error=KeyFileError, name=f"token file {path}").splitlines()
    except UnicodeDecodeError as error:
        raise KeyFileError(f"token file {path}: is no text. Write one token a line.") from error
    except OSError as error:
        raise KeyFileError(f"token file {path}: cannot be read ({error.strerror}).") from error
    held = [_checked(word, f"token file {path}") for line in lines if (word := line.partition("#")[0].strip())]
    if not held:
        raise KeyFileError(f"token file {path}: holds no token. Write one a line.")
    return held


def _checked(token: str, where: str | Path) -> str:
    if len(token) < SHORTEST or not set(token) <= ALLOWED:
        raise KeyFileError(
            f"{where}: a token needs at least {SHORTEST} letters, digits or -._~+/=, and no blanks. "
            "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token


class Gate:
    """Who may ask. What is compared are digests, all of them every time, so that times tell nothing."""

    def __init__(self, allowed: list[str]) -> None:
        self._digests = [_digest(token.encode()) for token in allowed]

    def admits(self, authorization: str | None) -> bool:
        """Whether a request with this header is answered; every one, where there are no tokens."""
        if not self._digests:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        sent = _digest(token.strip().encode("utf-8", "surrogateescape"))
        found = [hmac.compare_digest(sent, digest) for digest in self._digests]
        return any(found) and scheme.lower() == "bearer"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
