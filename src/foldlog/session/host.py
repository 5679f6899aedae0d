"""What a session needs of the store that owns it. `foldlog.store.store.Store` is it."""

from typing import Any, Protocol

from foldlog.core.view import View
from foldlog.session.config import Config
from foldlog.storage.committer import Committer
from foldlog.storage.database import Database


class Host(Protocol):
    """The store, as sessions see it."""

    @property
    def database(self) -> Database:
        """Where events and tables are."""

    @property
    def committer(self) -> Committer:
        """Where events are committed, together with other sessions'."""

    @property
    def config(self) -> Config:
        """The store's settings."""

    def register(self, session: Any) -> None:
        """Know a session as open."""

    def forget(self, session: Any) -> None:
        """Know a session as closed."""

    def live(self, session_id: str) -> Any | None:
        """The open session of this id in this process, or None."""

    def view(self, session_id: str, *, at: int | None = None) -> View:
        """A view of any session in the store."""

    def usage(self, session_id: str) -> dict[str, Any]:
        """A session's usage document."""

    def tree(self, session_id: str) -> dict[str, Any]:
        """A session's tree document."""

    def final(self, session_id: str) -> dict[str, Any]:
        """A session's final document."""

    def checkpointed(self, session_id: str) -> None:
        """Hear that a session's tables were written."""

    def close(self) -> None:
        """Close the store."""
