"""Paths and URLs that users give, checked before anything is opened.

What is at a path is looked at by `foldlog.storage.sqlite` when the store is opened.
"""

import os
from pathlib import Path
from typing import Final

from foldlog.core.errors import StoreError

# As a path a URL is looked for, and its password is printed.
_SCHEMES: Final = ("postgresql:", "postgresql+psycopg:", "postgres:")
_SERVER: Final = tuple(f"{scheme}//" for scheme in _SCHEMES)


def place_of(path_or_url: str | Path) -> Path | str:
    """The path of a store from a path or a `sqlite:///` URL, or the URL of a server's as it is; or `StoreError`."""
    if isinstance(path_or_url, str) and path_or_url.startswith(_SERVER):
        return path_or_url
    return path_of(path_or_url)


def path_of(path: str | Path) -> Path:
    """The path of a store from a path or a `sqlite:///` URL, or `StoreError`."""
    if not isinstance(path, str | os.PathLike):
        raise StoreError(f"{path!r} is not a path", hint="give a path or a sqlite:/// URL")
    text = os.fsdecode(path)
    if text.startswith(_SERVER):
        raise StoreError(
            "this is for stores in files, and the URL is a server's",
            hint="copy the store into a file first: `foldlog copy STORE history.db`",
        )
    if text.startswith(_SCHEMES):
        raise StoreError(
            "a server's URL has two slashes behind its scheme",
            hint="such as postgresql+psycopg://user@host:5432/database",
        )
    if "://" in text:
        scheme, _, rest = text.partition("://")
        if scheme != "sqlite" or not rest.startswith("/") or len(rest) < 2 or "?" in rest:
            # Not the rest: it may have a password.
            raise StoreError(
                f"a URL that begins with {scheme[:30]!r} is no store's",
                hint="use a path, sqlite:///path/to/history.db, or postgresql+psycopg://user@host/database",
            )
        text = rest[1:]
    if text in ("", ":memory:") or text.startswith("file:"):
        raise StoreError(f"{text!r} is not the path of a file", hint="a store is a file: nothing else would survive")
    return Path(text)


def checked_path(path: str | Path) -> Path:
    """A path the user gave, or `StoreError`."""
    if isinstance(path, str | os.PathLike) and os.fsdecode(path).startswith(_SCHEMES):
        raise StoreError(
            "a file or folder is meant here, and a server's URL is neither",
            hint="`foldlog copy STORE URL` takes a store to a server",
        )
    if isinstance(path, str | os.PathLike) and "\0" not in os.fsdecode(path):
        return Path(path)
    raise StoreError(f"{str(path)[:100]!r} is not a path", hint="give the path of a file or folder")
