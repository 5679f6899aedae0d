"""The events that are written: `call.updated`, as when a model's answer is in, 600 bytes of JSON each."""

import random
from typing import Any

import orjson

EVENT_BYTES = 600
VARIANTS = 64
TYPE = "call.updated"

_TEXT = "the model said that one file holds all of it and nothing was lost when the machine went down again"
_WORDS = _TEXT.split()


def text(chance: random.Random, length: int) -> str:
    """ASCII words, so many characters."""
    found = ""
    while len(found) < length:
        found += chance.choice(_WORDS) + " "
    return found[:length]


def payloads(seed: int) -> list[dict[str, Any]]:
    """The fields of `VARIANTS` events, one for each call of a session; each is `EVENT_BYTES` as JSON."""
    chance = random.Random(seed)
    found = []
    for call_id in range(1, VARIANTS + 1):
        read, written = chance.randint(1000, 90000), chance.randint(10, 4000)
        changes = {
            "status": "ok",
            "ended_at": f"2026-11-22T06:41:{chance.randint(10, 59)}.{chance.randint(100000, 999999)}Z",
            "usage": {"input_tokens": read, "output_tokens": written, "total_tokens": read + written},
            "cost": {"usd": round(chance.uniform(0.001, 0.9), 6)},
            "cache": {"status": "hit", "cached_tokens": chance.randint(0, read)},
            "preview": "",
        }
        payload = {"call_id": call_id, "changes": changes}
        changes["preview"] = text(chance, EVENT_BYTES - len(orjson.dumps(payload)))
        found.append(payload)
    return found


def calls() -> list[dict[str, Any]]:
    """The calls that the events are about: they start before anything is measured."""
    return [{"id": n, "type": "leaf", "status": "running", "model": "m-1"} for n in range(1, VARIANTS + 1)]
