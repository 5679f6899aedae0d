"""Reading what a reference stands for. How a value becomes one is in `foldlog.session.verbs`."""

from typing import Any

from foldlog.core.codec import decode
from foldlog.core.errors import InvalidEventError
from foldlog.core.ids import is_hash
from foldlog.core.refs import Ref, copy_value, hash_name
from foldlog.storage import blobs
from foldlog.storage.database import Database


def read(database: Database, ref: dict[str, Any]) -> Any:
    """The value of a reference: the one inside it, or its blob's.

    Raises `MissingBlobError` when its blob is not in this store, `InvalidEventError` for what is no
    reference.
    """
    kind = ref.get("kind") if isinstance(ref, dict) else None
    if kind == "inline" and "value" in ref:
        return copy_value(ref["value"])
    if kind != "blob" or not is_hash(ref.get("hash")):
        raise InvalidEventError("this is not a value reference", hint="pass what value_ref() gave, or a row's …_ref")
    database.check_open()
    body = ref.body if isinstance(ref, Ref) else None
    if body is None:
        body = blobs.read(database, ref["hash"])
    if body is None or hash_name(body) != ref["hash"]:
        raise blobs.missing(ref["hash"], "not in this store" if body is None else "damaged")
    return decode(body)
