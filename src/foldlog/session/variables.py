"""Capturing the user's variables, and giving them back.

A snapshot's body lists every variable: restorable with a reference to its value, or unrestorable with
the reason. Nothing is left out silently, and nothing is pickled: what comes back is what JSON and the
codec carry.
"""

from collections.abc import Callable, Mapping
from typing import Any

from foldlog.core.errors import InvalidEventError, LimitError, NotSerializableError

BODY_VERSION = 1


def capture(
    values: Mapping[str, Any], make_ref: Callable[[Any], dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, int]]:
    """The body of a snapshot of these variables, and its summary in counts."""
    variables: dict[str, Any] = {}
    for name, value in values.items():
        if type(name) is not str:
            raise InvalidEventError("snapshot(): a variable's name is not a str", hint="pass {name: value}")
        try:
            variables[name] = {"restorable": True, "ref": make_ref(value)}
        except (NotSerializableError, LimitError) as error:
            variables[name] = {
                "restorable": False,
                "reason": error.message,
                "class": f"{type(value).__module__}.{type(value).__qualname__}",
            }
    restorable = sum(1 for found in variables.values() if found["restorable"])
    summary = {
        "var_count": len(variables),
        "var_restorable": restorable,
        "var_unrestorable": len(variables) - restorable,
        "blob_count": sum(1 for found in variables.values() if found.get("ref", {}).get("kind") == "blob"),
    }
    return {"version": BODY_VERSION, "variables": variables}, summary


def give_back(body: Any, read_ref: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The restorable variables of a snapshot's body."""
    variables = body.get("variables") if isinstance(body, dict) else None
    if not isinstance(variables, dict):
        raise InvalidEventError(
            "the snapshot was not made by snapshot(): its value lists no variables",
            hint="read it yourself: session.read_ref(row['ref'])",
        )
    return {name: read_ref(found["ref"]) for name, found in variables.items() if found.get("restorable")}
