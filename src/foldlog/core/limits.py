"""The limits, each with its reason. `Limits` is the part of them that `Config` can change."""

from dataclasses import dataclass

from foldlog.core.errors import LimitError

# Values up to this many JSON bytes travel inside the event; larger ones become blobs. One SQLite page:
# a row that stays on its page is read with it.
INLINE_BYTES_MAX = 4096

# An event is read, hashed and folded in memory, several at a time under fan-out.
EVENT_BYTES_MAX = 64 * 1024 * 1024

# Far below SQLite's own limit of 1,000,000,000 bytes a value, far above a long transcript.
BLOB_BYTES_MAX = 512 * 1024 * 1024

# Deep enough for any honest value, low enough that no decoder or recursive reader runs out of stack.
NESTING_MAX = 200

# An event carries a value inside rows and references (`call.response_ref.value`, a snapshot's reference in
# `session_patch.restored_from`): levels that are not the user's.
ENVELOPE_NESTING = 5

# A name in a session id is a file name on export and a key in every index.
SESSION_ID_CHARS_MAX = 128

# The whole address of a child: an export's paths, with a folder more for each level, stay below the 4,096
# bytes that systems take.
ADDRESS_CHARS_MAX = 1024

# Event types and row ids that are names: words to filter by, in every event and row.
EVENT_TYPE_CHARS_MAX = 128
ROW_ID_CHARS_MAX = 128

# An idempotency key stands in an index of its own; a hash, a URL or a job's id fits.
IDEMPOTENCY_KEY_CHARS_MAX = 512

# A batch is in memory until it is committed, and keeps other writers waiting while it is.
BATCH_EVENTS_MAX = 100_000

# Sessions below sessions; each level adds four levels of nesting to the usage document.
TREE_DEPTH_MAX = 32

# Why a session was deleted: a sentence or two.
REASON_CHARS_MAX = 1000

# Previews: what a person reads in a list, not the value.
PREVIEW_DEPTH_MAX = 4
PREVIEW_CHARS_MAX = 2000
PREVIEW_ENTRIES_MAX = 50

# What a scrub hook removed is named in the event, so far; then counted.
SCRUB_MARKS_MAX = 100

# A read-only query: long enough for analysis, short enough that a mistake ends by itself.
QUERY_SECONDS_MAX = 30.0
# A value in a query: SQLite's functions copy it several times over, in one step that nothing interrupts.
QUERY_VALUE_BYTES_MAX = 16 * 1024 * 1024
# Memory and temporary files that a query may take for what it sorts, groups and collects.
QUERY_EXTRA_BYTES_MAX = 1024 * 1024 * 1024

# Of each text so much is found by its words, some ten pages: an index that holds whole logs is as large as they are.
SEARCH_TEXT_CHARS_MAX = 32_768

# A blob is read whole to find its beginning; a larger one is not worth the wait, and is found by nothing.
SEARCH_BLOB_BYTES_MAX = 16 * 1024 * 1024

# What a person types.
SEARCH_QUERY_CHARS_MAX = 1000
SEARCH_QUERY_WORDS_MAX = 32
SEARCH_HITS_MAX = 1000

# Of a word that is everywhere, the newest texts are ranked: so many take a tenth of a second.
SEARCH_RANKED_MAX = 20_000

# A checkpoint adds to the index when so many events wait, in portions of as many, at most so many portions at once:
# adding ten by ten costs fifteen times as much.
SEARCH_PORTION_EVENTS = 512
SEARCH_PORTIONS_MAX = 8

# So many events that are not in the index yet are looked through by a search itself.
SEARCH_TAIL_EVENTS_MAX = 2048
SEARCH_TAIL_BYTES_MAX = 64 * 1024 * 1024

# Beyond this, SQLite itself refuses a value.
_BYTES_MAX = 900_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits an application may lower or raise, in bytes and levels.

    >>> Limits(event_bytes_max=1_000_000).nesting_max
    200
    """

    event_bytes_max: int = EVENT_BYTES_MAX
    blob_bytes_max: int = BLOB_BYTES_MAX
    nesting_max: int = NESTING_MAX
    tree_depth_max: int = TREE_DEPTH_MAX

    def __post_init__(self) -> None:
        highest = {"nesting_max": NESTING_MAX, "tree_depth_max": TREE_DEPTH_MAX}
        for name in ("event_bytes_max", "blob_bytes_max", "nesting_max", "tree_depth_max"):
            value, most = getattr(self, name), highest.get(name, _BYTES_MAX)
            if type(value) is not int or not 1 <= value <= most:
                raise LimitError(f"Limits({name}={value!r}) is out of range", hint=f"use an int from 1 to {most:,}")
