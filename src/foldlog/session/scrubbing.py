"""The scrub hook: what an application takes out of an event before it is stamped and stored.

Run for every event, and for every value that becomes a blob before it is hashed: nothing else brings
users' values into the database. What was removed is found by comparing, and marked in the event. Ready-made
patterns are in `foldlog.core.secret_text`; where the hook is called in `foldlog.session.recorder` and
`foldlog.session.verbs`. Session ids, event types, row ids and idempotency keys are not shown to it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from foldlog.core.codec import Encoded, decode, encode
from foldlog.core.errors import FoldlogError, InvalidEventError
from foldlog.core.limits import ENVELOPE_NESTING, SCRUB_MARKS_MAX
from foldlog.core.preview import project_value
from foldlog.core.refs import Ref
from foldlog.core.secret_text import Scrub, names_in
from foldlog.session.config import Config

MARK_KEY: Final = "scrubbed"
_PATH_CHARS_MAX: Final = 200

Marks = list[dict[str, Any]]


def scrubbed_event(config: Config, event_type: str, encoded: Encoded) -> Encoded:
    """An event's payload as the hook leaves it, with the marks of what it removed."""
    assert config.scrub is not None  # noqa: S101  (the caller has looked)
    nesting_max = config.limits.nesting_max + ENVELOPE_NESTING
    bytes_max = config.limits.event_bytes_max
    session_id = _session_id(encoded.value)  # before the hook, which may change what it is given
    found, marks = _after(config.scrub, event_type, encoded, nesting_max)
    if type(found.value) is not dict:
        raise InvalidEventError(
            f"{event_type}: the scrub hook returned no map", hint="return the payload, changed or as it is"
        )
    if event_type == "session.started" and _session_id(found.value) != session_id:
        raise InvalidEventError(
            "session.started: the scrub hook changed the session's id", hint="ids are not for scrubbing: leave them"
        )
    marks += _marks_of(found.refs, set())
    if not marks and found is encoded:
        return encoded
    fields = _marked(event_type, found.value, marks) if marks else found.value
    again = encode(fields, what=event_type, nesting_max=nesting_max, bytes_max=bytes_max)
    return again._replace(refs=_same_refs(again, found))


def scrubbed_value(scrub: Scrub, encoded: Encoded, nesting_max: int) -> tuple[Encoded, Marks]:
    """A value that becomes a blob as the hook leaves it, as canonical JSON; and what was removed."""
    return _after(scrub, None, encoded, nesting_max, canonical=True)


def scrubbed_preview(config: Config, value: Any) -> Any:
    """A preview of a value, made when its secrets are gone: cutting one in two would hide it from the hook."""
    if config.scrub is None:
        return project_value(value)
    nesting_max = config.limits.nesting_max
    encoded = encode(value, nesting_max=nesting_max, canonical=True)
    return project_value(_after(config.scrub, None, encoded, nesting_max)[0].value)


def _after(
    scrub: Scrub, event_type: str | None, encoded: Encoded, nesting_max: int, *, canonical: bool = False
) -> tuple[Encoded, Marks]:
    what = event_type or "value"
    for ref in encoded.refs:
        if ref.body is not None and (ref.scrubbed is None or ref.scrubbed[0] is not scrub):
            raise InvalidEventError(
                f"{what}: it holds a reference whose value this store's scrub hook has not seen",
                hint="make the reference with value_ref() of a session in this store",
            )
    try:
        answer = scrub(event_type, encoded.value)
        if encoded.refs:
            answer = _with_refs(answer, {ref["hash"] for ref in encoded.refs})
    except FoldlogError:
        raise
    except Exception as error:
        raise InvalidEventError(
            f"{what}: the scrub hook raised {type(error).__name__}",
            hint="nothing was written; see the cause of this error",
        ) from error
    # Encoded anew even where it is the same object: a hook may have changed it in place.
    found = encode(answer, what=f"{what}, as the scrub hook returned it,", nesting_max=nesting_max, canonical=canonical)
    if found.data == encoded.data:
        return encoded, []
    return found._replace(refs=_same_refs(found, encoded)), list(_differences(decode(encoded.data), found.value, ""))


def _with_refs(value: Any, hashes: set[str]) -> Any:
    """A value whose maps that were references are references again: a hook may have copied them."""
    if type(value) is dict:
        if value.keys() == {"kind", "hash", "bytes"} and value["kind"] == "blob" and value["hash"] in hashes:
            return Ref(value)
        return {key: _with_refs(item, hashes) for key, item in value.items()}
    if type(value) is list or type(value) is tuple:
        return [_with_refs(item, hashes) for item in value]
    return value


def _same_refs(found: Encoded, source: Encoded) -> tuple[Ref, ...]:
    """The references in one encoding, with the bodies that they had in another."""
    known = {ref["hash"]: ref for ref in source.refs}
    return tuple(known.get(ref["hash"], ref) for ref in found.refs)


def _session_id(payload: dict[str, Any]) -> Any:
    session = payload.get("session")
    return session.get("id") if isinstance(session, dict) else None


# Marks.


def _differences(old: Any, new: Any, path: str) -> Iterator[dict[str, Any]]:
    """Where a value was changed: paths through what is left of it, and the names that stand there now."""
    if type(old) is dict and type(new) is dict:
        for key, item in new.items():
            below = f"{path}.{key}" if path else key
            if key in old:
                yield from _differences(old[key], item, below)
            else:
                yield _mark(below, key)
        if old.keys() - new.keys() and not new.keys() - old.keys():
            yield _mark(path, new)
    elif type(old) is list and type(new) is list and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif type(old) is not type(new) or old != new:
        yield _mark(path, new)


def _mark(path: str, new: Any) -> dict[str, Any]:
    if isinstance(new, set | frozenset):
        return {"path": path[:_PATH_CHARS_MAX], "what": sorted({name for item in new for name in names_in(item)})}
    if isinstance(new, Ref | dict) and "value" in new:
        new = new["value"]
    return {"path": path[:_PATH_CHARS_MAX], "what": names_in(new)}


def _marks_of(refs: Iterable[Ref], seen: set[str]) -> Marks:
    """What was removed from the blobs that an event brings with it, and from those inside them."""
    found: Marks = []
    for ref in refs:
        if ref.scrubbed is not None and ref["hash"] not in seen:
            seen.add(ref["hash"])
            found += [{"blob": ref["hash"], **mark} for mark in ref.scrubbed[1]]
            found += _marks_of(ref.inner, seen)
    return found


def _marked(event_type: str, payload: dict[str, Any], marks: Marks) -> dict[str, Any]:
    before = payload.get(MARK_KEY, [])
    if type(before) is not list:
        raise InvalidEventError(
            f"{event_type}: with a scrub hook, {MARK_KEY!r} is where the session says what was removed",
            hint="use another name in the payload",
        )
    if len(marks) > SCRUB_MARKS_MAX:
        marks = [*marks[:SCRUB_MARKS_MAX], {"more": len(marks) - SCRUB_MARKS_MAX}]
    return {**payload, MARK_KEY: [*before, *marks]}
