"""The codec: what goes in comes out, and what cannot is refused by its path."""

import copy
import datetime as dt
import enum
import math
import pickle
import uuid
import zoneinfo
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog.core.codec import TAG, canonical_json, decode, encode
from foldlog.core.errors import CorruptJournalError, LimitError, NotSerializableError
from foldlog.core.refs import Ref, copy_value, hash_name


class Name(str):
    __slots__ = ()


class Count(int):
    pass


class Share(float):
    pass


class Bag(dict[str, Any]):
    pass


class Color(enum.Enum):
    RED = "red"
    MANY = 7
    PAIR = ("a", 1)


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any = None


@dataclass
class Half:
    x: int
    later: int = field(init=False)


def expected(value: Any) -> Any:
    """What is promised to be read back for `value`."""
    if isinstance(value, enum.Enum):
        return expected(value.value)
    if isinstance(value, set | frozenset):
        return type(value)(_member(item) for item in value)
    if isinstance(value, Point):
        return {"x": expected(value.x), "y": expected(value.y)}
    if isinstance(value, PurePosixPath | Path):
        return str(value)
    if isinstance(value, dict):
        return {_base(key): expected(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [expected(item) for item in value]
    return _base(value)


def _member(value: Any) -> Any:
    return tuple(_member(item) for item in value) if isinstance(value, tuple) else expected(value)


def _base(value: Any) -> Any:
    for base in (str, float):
        if isinstance(value, base):
            return base(value)
    return int(value) if isinstance(value, Count | Level) else value


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return all(map(same, left, right))
    if isinstance(left, set | frozenset):
        return sorted(str(type(item)) for item in left) == sorted(str(type(item)) for item in right)
    return True


OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.datetimes(timezones=OFFSETS)
    | st.dates()
    | st.times()
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.binary()
    | st.builds(Name, st.text())
    | st.builds(Count, st.integers(-(2**63), 2**63 - 1))
    | st.builds(Share, st.floats(allow_nan=False, allow_infinity=False))
    | st.sampled_from([Level.LOW, Word.YES])
)
SCALARS = PLAIN | st.sampled_from([Color.RED, Color.MANY, Path("a/b.txt")])
MEMBERS = st.recursive(
    PLAIN, lambda inner: st.frozensets(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple), max_leaves=6
)
KEYS = st.sampled_from([TAG, "value", "kind", "hash", "bytes", "a"]) | st.text() | st.builds(Name, st.text())
LOOKALIKES = st.fixed_dictionaries(
    {TAG: st.sampled_from(["ref", "set", "map", "tuple", "date", "datetime", "nothing", None, 1, []])},
    optional={
        "value": st.sampled_from(["2026-11-22", [1], {"a": 1}, None]),
        "kind": st.just("blob"),
        "hash": st.just("sha256:" + "0" * 64),
    },
)
VALUES = st.recursive(
    SCALARS | LOOKALIKES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=2).map(Bag)
        | st.sets(MEMBERS, max_size=4)
        | st.frozensets(MEMBERS, max_size=4)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_a_value_is_read_back_equal_and_of_the_same_type(value: Any) -> None:
    assert same(decode(encode(value).data), expected(value))


@given(VALUES)
def test_the_value_beside_the_bytes_is_what_decoding_them_gives(value: Any) -> None:
    encoded = encode(value)
    assert same(encoded.value, decode(encoded.data))


@given(VALUES)
def test_what_was_read_back_encodes_to_the_same_canonical_bytes(value: Any) -> None:
    data = encode(value, canonical=True).data
    assert encode(decode(data), canonical=True).data == data


@given(VALUES)
def test_text_and_bytes_decode_alike(value: Any) -> None:
    data = encode(value).data
    assert decode(data.decode()) == decode(data)


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_in_a_real_zone_comes_back_equal_or_is_refused(value: dt.datetime) -> None:
    try:
        data = encode(value).data
    except NotSerializableError as error:
        assert "no exact text form" in error.message  # noqa: PT017  (either is right, by the zone)
    else:
        assert decode(data) == value


def test_canonical_bytes_do_not_depend_on_the_order_of_keys_or_members() -> None:
    one = encode({"a": 1, "b": {"x", "y", "z"}}, canonical=True).data
    assert encode({"b": {"z", "y", "x"}, "a": 1}, canonical=True).data == one


def test_members_that_come_to_the_same_are_written_once() -> None:
    assert encode({Color.MANY, 7, Path("a"), "a"}, canonical=True).data == encode({7, "a"}, canonical=True).data


def test_an_enum_and_a_path_in_a_set_come_back_plain() -> None:
    assert decode(encode({Color.RED, Path("a"), frozenset({Color.MANY})}).data) == {"red", "a", frozenset({7})}


def test_the_copy_shares_nothing_mutable_with_the_value() -> None:
    value = {"list": [1], "map": {"a": [2]}}
    encoded = encode(value)
    value["list"].append(9)
    value["map"]["a"].append(9)
    assert encoded.value == {"list": [1], "map": {"a": [2]}}


@pytest.mark.parametrize("value", [1.0, 1, True, -0.0, 2**63 - 1, -(2**63), 5e-324, 1e308, ""])
def test_numbers_keep_their_kind_and_their_last_digit(value: Any) -> None:
    found = decode(encode([value]).data)[0]
    assert (type(found), repr(found)) == (type(value), repr(value))


@pytest.mark.parametrize("text", ["0", "-0", "1.10", "1E+400", "0E-28", "123456789012345678901234567890.5"])
def test_a_decimal_keeps_its_digits(text: str) -> None:
    assert str(decode(encode(Decimal(text)).data)) == text


def test_a_time_keeps_its_offset() -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30, seconds=1))
    moment = dt.datetime(2026, 11, 22, 6, 41, tzinfo=zone)
    clock = dt.time(6, 41, tzinfo=zone)
    found = decode(encode([moment, clock]).data)
    assert [one.utcoffset() for one in found] == [dt.timedelta(hours=5, minutes=30, seconds=1)] * 2


@pytest.mark.parametrize(
    "value",
    [
        {TAG: "date", "value": "2026-11-22"},
        {TAG: "ref", "kind": "blob", "hash": "sha256:" + "0" * 64, "bytes": 1},
        {TAG: None},
        {TAG: {TAG: "map", "value": {TAG: 1}}},
        {"kind": "blob", "hash": "sha256:" + "0" * 64, "bytes": 1},
        {"kind": "inline", "value": 1},
    ],
)
def test_a_users_map_that_looks_like_ours_stays_a_map(value: dict[str, Any]) -> None:
    encoded = encode([value])
    found = decode(encoded.data)[0]
    assert found == value
    assert type(found) is dict
    assert encoded.refs == ()


def test_a_ref_comes_back_as_a_ref_and_is_told_of() -> None:
    ref = Ref({"kind": "blob", "hash": hash_name(b"1"), "bytes": 1}, b"1")
    encoded = encode({"deep": [ref]})
    found = decode(encoded.data)["deep"][0]
    assert encoded.refs == (ref,)
    assert encoded.refs[0].body == b"1"
    assert type(found) is Ref
    assert found == ref
    assert found.body is None


def test_a_ref_survives_copying_and_pickling_with_its_body() -> None:
    part = Ref({"kind": "blob", "hash": hash_name(b"2"), "bytes": 1}, b"2")
    ref = Ref({"kind": "blob", "hash": hash_name(b"1"), "bytes": 1}, b"1", (part,))
    for copied in (copy.deepcopy(ref), pickle.loads(pickle.dumps(ref)), copy_value(ref)):
        assert (type(copied), copied, copied.body, copied.inner) == (Ref, ref, b"1", (part,))
        assert copied is not ref


@given(VALUES)
def test_a_copy_is_equal_and_shares_no_list_or_map(value: Any) -> None:
    found = decode(encode(value).data)
    copied = copy_value(found)
    assert same(copied, found)
    assert not {id(one) for one in _containers(copied)} & {id(one) for one in _containers(found)}


def _containers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *(one for item in value.values() for one in _containers(item))]
    if isinstance(value, list):
        return [value, *(one for item in value for one in _containers(item))]
    return [value] if isinstance(value, set) else []


# Refusals.


def cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        Share("nan"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        2**63,
        -(2**63) - 1,
        2**70,
        Count(2**63),
        "\ud800",
        "fine \udfff",
        Path("\udc80"),
        dt.datetime(2026, 11, 22),  # noqa: DTZ001  (that is the point)
        dt.time(1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        object(),
        len,
        Point,
        1j,
        bytearray(b"x"),
        iter([]),
        {1.0: "a"},
        {None: "a"},
        {b"a": "a"},
        {(1, 2): "a"},
        {Point(1)},
        pytest.param({"\ud800"}, id="surrogate in a set"),
        pytest.param(frozenset({"a", "\ud800"}), id="surrogate in a frozenset"),
        pytest.param({Color.RED: 1, "red": 2}, id="two keys that come to the same"),
        pytest.param(Half(1), id="dataclass that lacks a field"),
        nested(300),
        cycle(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_carry_is_refused_by_the_path_to_it(value: Any) -> None:
    with pytest.raises(NotSerializableError) as caught:
        encode({"content": [0, {"a": value}]})
    assert caught.value.path.startswith("content[1].a")
    assert caught.value.path in str(caught.value)
    assert caught.value.hint


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file, pytest.raises(NotSerializableError) as caught:
        encode({"log": file})
    assert caught.value.path == "log"


def test_a_key_that_is_no_text_is_named() -> None:
    with pytest.raises(NotSerializableError) as caught:
        encode({"a": {"b": {3: 1}}})
    assert caught.value.path == "a.b.3"


def test_a_lone_surrogate_in_a_key_is_refused_in_words_that_can_be_printed() -> None:
    with pytest.raises(NotSerializableError) as caught:
        encode({"a": {"\ud800": 1}})
    assert str(caught.value).encode().startswith(b"a.")


def test_a_path_through_a_key_with_a_lone_surrogate_can_be_printed() -> None:
    with pytest.raises(NotSerializableError) as caught:
        encode({"\ud800": math.nan})
    assert b"nan" in str(caught.value).encode()


def test_a_key_whose_repr_raises_is_refused_all_the_same() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(NotSerializableError):
        encode({Rude(): 1})


def test_a_value_that_is_refused_itself_is_named_by_what_it_is() -> None:
    with pytest.raises(NotSerializableError) as caught:
        encode(math.nan, what="message.added")
    assert caught.value.path == "message.added"


@pytest.mark.parametrize("value", [math.nan, dt.datetime(2026, 11, 22, tzinfo=dt.UTC), {1: 2}])
def test_a_ref_that_somebody_wrote_into_is_checked_like_any_map(value: Any) -> None:
    ref = Ref({"kind": "blob", "hash": hash_name(b"1"), "bytes": 1, "mine": value})
    try:
        encoded = encode([ref])
    except NotSerializableError as error:
        assert error.path.startswith("[0]")  # noqa: PT017  (refused, or kept whole)
    else:
        assert same(decode(encoded.data)[0]["mine"], value)


def test_the_deepest_value_allowed_is_two_hundred_levels() -> None:
    assert decode(encode(nested(200)).data) == nested(200)
    with pytest.raises(NotSerializableError):
        encode(nested(201))


def test_maps_that_look_like_tags_may_be_as_deep_as_any() -> None:
    value: Any = 1
    for _ in range(199):
        value = {TAG: value}
    assert decode(encode(value).data) == value


def test_sets_and_tuples_inside_count_towards_the_depth() -> None:
    value: Any = 1
    for _ in range(150):
        value = frozenset({(value,)})
    with pytest.raises(NotSerializableError):
        encode(value)


def test_an_event_may_take_its_limit_in_bytes_and_no_more() -> None:
    data = encode("x" * 98, bytes_max=100).data
    assert len(data) == 100
    with pytest.raises(LimitError) as caught:
        encode("x" * 99, what="message.added", bytes_max=100)
    assert "message.added takes 101" in str(caught.value)


def test_the_limit_is_in_bytes_not_characters() -> None:
    with pytest.raises(LimitError):
        encode("é" * 60, bytes_max=100)


def test_nothing_the_user_said_is_in_the_error() -> None:
    with pytest.raises(NotSerializableError) as caught:
        encode({"a": ["my secret", {"b": math.nan, "c": "another secret"}]})
    assert "secret" not in str(caught.value)


# Damage.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nul",
        b"\xff",
        b'"\\ud800"',
        "\ud800",
        b'{"$foldlog":"nothing","value":1}',
        b'{"$foldlog":["set"],"value":1}',
        b'{"$foldlog":"date"}',
        b'{"$foldlog":"date","value":"2026-13-01"}',
        b'{"$foldlog":"date","value":5}',
        b'{"$foldlog":"uuid","value":"x"}',
        b'{"$foldlog":"decimal","value":"x"}',
        b'{"$foldlog":"bytes","value":"?"}',
        b'{"$foldlog":"set","value":[[1]]}',
        b'{"$foldlog":"set","value":1}',
        b'{"$foldlog":"map","value":[1]}',
        b"[" * 900 + b'{"$foldlog":"date","value":"2026-11-22"}' + b"]" * 900,
        b"[" * 2000 + b"]" * 2000,
    ],
    ids=lambda data: ascii(data[:40]),
)
def test_bytes_that_encode_cannot_have_written_are_called_corrupt(data: bytes | str) -> None:
    with pytest.raises(CorruptJournalError):
        decode(data)


@given(st.binary(max_size=60) | st.recursive(
    st.sampled_from([1, "x", "2026-11-22", None, "set", "ref"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([TAG, "value"]), inner),
    max_leaves=8,
).map(orjson.dumps))  # fmt: skip
def test_any_bytes_are_read_or_called_corrupt(data: bytes) -> None:
    try:
        decode(data)
    except CorruptJournalError as error:
        assert error.hint  # noqa: PT017  (either is right)


def test_a_hash_name_is_the_sha256_of_the_bytes() -> None:
    assert hash_name(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_every_tagged_type_is_tagged() -> None:
    values = [
        dt.datetime(2026, 11, 22, tzinfo=dt.UTC), dt.date(2026, 11, 22), dt.time(1), uuid.UUID(int=1),
        Decimal(1), b"x", {1}, frozenset({1}),
    ]  # fmt: skip
    assert all(orjson.loads(encode(value).data)[TAG] for value in values)


def test_an_enum_of_a_tuple_in_a_set_is_its_plain_form() -> None:
    assert decode(encode({Color.PAIR}).data) == {Color.PAIR.value}


@given(VALUES)
def test_canonical_json_is_the_canonical_encoding(value: Any) -> None:
    assert canonical_json(value) == encode(value, canonical=True).data
