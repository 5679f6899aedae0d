"""What a check of a store hands out: problems, counts, and what is set apart. Finds nothing itself."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (a journal position, a session), what, and what to do."""

    position: int | None
    session: str | None
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{_where(self.position, self.session)}{self.what} (hint: {self.hint})"


@dataclass(frozen=True, slots=True)
class SetApart:
    """An event that a repair has set apart: damaged, or, with no position, gone."""

    session: str
    event_id: int
    position: int | None
    what: str
    at: str

    def __str__(self) -> str:
        return f"{_where(self.position, self.session)}event {self.event_id} is set apart since {self.at}: {self.what}"


@dataclass(slots=True)
class Report:
    """What `verify` found; true when nothing is wrong.

    `set_apart` is what a repair has taken out of the fold: reported, and not wrong anew.

    >>> bool(Report())
    True
    """

    problems: list[Problem] = field(default_factory=list)
    session_count: int = 0
    event_count: int = 0
    blob_count: int = 0
    exported_count: int = 0
    set_apart: list[SetApart] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        counts = [plural(self.session_count, "session"), plural(self.event_count, "event")]
        counts.append(plural(self.blob_count, "blob"))
        if self.exported_count:
            counts.append(plural(self.exported_count, "exported session"))
        if self.set_apart:
            counts.append(f"{plural(len(self.set_apart), 'event')} set apart")
        found = ", ".join(counts)
        first = f"ok: {found}" if self.ok else f"{plural(len(self.problems), 'problem')} in {found}:"
        return "\n".join([first, *(f"  {line}" for line in (*self.problems, *self.set_apart))])


def _where(position: int | None, session: str | None) -> str:
    at = "" if position is None else f"position {position}: "
    return at if session is None else f"{at}session {session}: "


def lacking(count: int) -> str:
    """That sessions have events and no rows in the tables: each gets both in one commit, but for a copy."""
    return f"{plural(count, 'session')} in the journal, but not in the tables, as after a copy that was not finished"


def plural(count: int, word: str) -> str:
    """`1 event`, `2 events`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


REPAIR = "restore a backup, or go on without it: `foldlog repair STORE`"
SAVE = "restore a backup, or save what can be read: `foldlog repair STORE --into NEW`"
REBUILD = "the journal is whole; `foldlog repair STORE` makes the tables anew from it"
FINISH = (
    "where a copy was not finished the same `foldlog copy` again goes on; `foldlog repair STORE` makes the tables anew "
    "from the journal"
)
RESTORE = "restore a backup of the server's"
