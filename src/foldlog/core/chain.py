"""Digests and the chain: what makes a journal tamper-evident.

An event's digest is the hash of its stored JSON; its chain value hashes the previous chain value, the
event's id, type and time, and the digest. The chain covers digests, not data, so it still verifies
where a value was erased on purpose later. Comparing them with a stored journal is the verifier's work.
"""

import hashlib
from functools import lru_cache


def first_chain(session_id: str) -> bytes:
    """The chain value before event 1."""
    return hashlib.sha256(session_id.encode()).digest()


def digest_of(data: bytes) -> bytes:
    """The digest of an event's stored JSON."""
    return hashlib.sha256(data).digest()


def next_chain(previous: bytes, event_id: int, event_type: str, at: str, digest: bytes) -> bytes:
    """The chain value of one event, from the one before it."""
    link = b"".join((previous, event_id.to_bytes(8, "big"), _named(event_type), at.encode(), digest))
    return hashlib.sha256(link).digest()


@lru_cache(maxsize=1024)
def _named(event_type: str) -> bytes:
    name = event_type.encode()
    return len(name).to_bytes(4, "big") + name
