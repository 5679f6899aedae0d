"""How values are cut: put together they are what they were, and what is alike has the same name."""

import hashlib
import random
import string
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foldlog.core import parts
from foldlog.core.codec import encode
from foldlog.core.parts import LIST, PART, List, Marker, Part, Piece, Pieces, cut, hash_text, name_of, pack, unpack


def split(value: Any) -> Pieces:
    encoded = encode(value, canonical=True)
    return parts.split(encoded.wire, encoded.data)


def whole(pieces: Pieces) -> bytes:
    """Pieces put together."""
    return b"".join(map(_whole, pieces))


def _whole(piece: Piece) -> bytes:
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, Part):
        return whole(piece.pieces)
    return b"[" + b",".join(map(whole, piece.runs)) + b"]"


def text(length: int, seed: int = 0) -> str:
    return "".join(random.Random(f"{seed} {length}").choices(string.ascii_letters, k=length))


def the_list(pieces: Pieces) -> List:
    (found,) = [piece for piece in pieces if isinstance(piece, List)]
    return found


def names(pieces: Pieces) -> set[bytes]:
    return {piece.name for piece in pieces if not isinstance(piece, bytes)}


def leaves(pieces: Pieces) -> list[Part]:
    """The parts that were not cut further."""
    found: list[Part] = []
    for part in (piece for piece in pieces if isinstance(piece, Part)):
        found += leaves(part.pieces) or [part]
    return found


@pytest.mark.parametrize(
    "value",
    [
        None, 1, "", [], {}, text(10_000), [1, 2, 3], {"a": text(3000)},
        {"a": text(300), "b": text(300), "c": {"d": text(5000), "e": [text(300)] * 20}},
        [text(500)] * 20, list(range(5000)), [[1, 2, text(5000)]] * 3, [*range(2000), text(5000), *range(2000)],
        {"$foldlog": "part", "id": 1, "pad": text(5000)}, {"é": ["ü" * 300] * 20, "\x00": '{"$foldlog":"part","id":1}'},
        {"s": set(range(5000)), "b": b"x" * 10_000}, {str(number): number for number in range(2000)},
    ],
)  # fmt: skip
def test_pieces_put_together_are_the_value(value: Any) -> None:
    data = encode(value, canonical=True).data
    assert whole(split(value)) == data


def test_what_is_small_stays_whole() -> None:
    value = {"a": text(600), "b": [text(600)] * 4}
    assert split(value) == (encode(value, canonical=True).data,)
    assert split(text(10_000)) == (encode(text(10_000)).data,)


def test_a_long_text_in_a_map_is_a_part_and_a_short_one_is_not() -> None:
    before, part, after = split({"a": 1, "b": text(9000), "c": text(100)})
    assert (before, after) == (b'{"a":1,"b":', b',"c":"' + text(100).encode() + b'"}')
    data = encode(text(9000)).data
    assert part == Part(hashlib.sha256(data).digest(), (data,))


def test_a_list_has_a_name_for_each_prefix() -> None:
    items = [{"role": "user", "content": text(500, seed)} for seed in range(20)]
    long, short = the_list(split(items)), the_list(split(items[:15]))
    assert (long.names[:15], long.runs[:15]) == (short.names, short.runs)
    assert (long.whole_count, len(set(long.names))) == (20, 20)
    changed = the_list(split([*items[:10], "other", *items[11:]]))
    assert changed.names[:10] == long.names[:10]
    assert not set(changed.names[10:]) & set(long.names)


def test_a_list_is_named_by_its_items_not_by_where_it_stands() -> None:
    items = [text(500, seed) for seed in range(20)]
    assert the_list(split(items)) == the_list(split({"model": "m", "messages": items}))


def test_a_list_of_small_items_is_named_every_so_many() -> None:
    long, short = the_list(split(list(range(10_000)))), the_list(split(list(range(9_990))))
    assert len(long.runs) < 400
    assert long.names[: short.whole_count] == short.names[: short.whole_count]
    assert (short.whole_count, len(short.runs), long.whole_count, len(long.runs)) == (312, 313, 312, 313)


def test_a_large_item_among_small_ones_is_a_part() -> None:
    value = [*range(3000), text(3000), *range(3000)]
    assert sum(isinstance(piece, Part) for run in the_list(split(value)).runs for piece in run) == 1


def test_a_list_keeps_its_names_when_its_items_grow() -> None:
    """From a list of small items to one that is not, what is stored is still found."""
    small, large = list(range(3000)), [text(2000, seed) for seed in range(100)]
    before, after = the_list(split(small)), the_list(split([*small, *large]))
    assert len(before.runs) < 100 < len(after.runs)
    assert before.name in after.names


def test_a_text_inside_an_item_is_cut_out_only_where_it_is_long() -> None:
    short, long = {"role": "user", "content": text(3000)}, {"role": "user", "content": text(5000)}
    found = the_list(split([short, long, long])).runs
    assert [type(piece) for piece in found[0]] == [Part]
    assert [type(piece) for piece in found[1]] == [bytes, Part, bytes]
    assert names(found[1]) == names(split({"a": text(5000)}))


def test_where_much_is_left_of_an_item_it_is_a_part_with_parts() -> None:
    item = {"content": text(5000), **{f"key {number}": number for number in range(50)}}
    (found,) = the_list(split([item, item])).runs[0]
    assert isinstance(found, Part)
    assert names(found.pieces) == names(split({"a": text(5000)}))


def test_deep_values_are_cut_to_a_depth_and_whole_below() -> None:
    value: Any = [text(5000)]
    for level in range(100):
        value = {"inner": value, "own": text(300, level)}
    pieces = split(value)
    assert whole(pieces) == encode(value, canonical=True).data
    # Each level's own text, and what is below the last one that is looked into.
    assert len(leaves(pieces)) == parts.SPLIT_DEPTH_MAX + 1


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=30) | st.binary(max_size=30) | st.dates()
    | st.sets(st.integers(-99, 99), max_size=5),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=3), inner, max_size=8),
    max_leaves=60,
)  # fmt: skip


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(values, st.sampled_from([1, 5, 20]), st.sampled_from([3, 20, 60]), st.sampled_from([1, 3, 16]))
def test_any_value_is_what_its_pieces_are(value: Any, part: int, least: int, depth: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_BYTES_MIN", part)
        patch.setattr(parts, "SPLIT_BYTES_MIN", least)
        patch.setattr(parts, "SPLIT_DEPTH_MAX", depth)
        patch.setattr(parts, "_DENSE_RUN", 4)
        assert whole(split(value)) == encode(value, canonical=True).data


# Text with markers.


def test_markers_are_found_and_nothing_else_is() -> None:
    assert cut(b"") == [b""]
    assert cut(b"[1]") == [b"[1]"]
    assert cut(Marker(LIST, 17).text) == [Marker(LIST, 17)]
    assert Marker(PART, 5).text == b'{"$foldlog":"part","id":5}'
    both = b"[" + Marker(PART, 5).text + Marker(LIST, 6).text + b"]"
    assert list(parts.markers(cut(both))) == [Marker(PART, 5), Marker(LIST, 6)]


@pytest.mark.parametrize(
    "value",
    [
        '{"$foldlog":"part","id":5}', '\\{"$foldlog":"part","id":5}', '"{"$foldlog":"list","id":5}"',
        {"$foldlog": "part", "id": 5}, {"$$foldlog": "part", "id": 5}, {'{"$foldlog":"part","id":5}': 1},
        {"a\\": {"$foldlog": "list", "id": 5}}, ["\\", {"$foldlog": "part", "id": 5}],
    ],
)  # fmt: skip
def test_no_value_of_a_user_looks_like_a_marker(value: Any) -> None:
    data = encode(value, canonical=True).data
    assert cut(data) == [data]


@pytest.mark.parametrize(
    "data", [b'{"$foldlog":"part","id":0}', b'{"$foldlog":"part","id":-1}', b'{"$foldlog":"part","id":%d}' % 10**18]
)
def test_a_marker_of_no_row_is_none(data: bytes) -> None:
    assert cut(data) == [data]


def test_text_is_hashed_as_the_pieces_it_was_made_of() -> None:
    part, found = Part(b"p" * 32, (b"x",)), the_list(split([text(500)] * 20))
    pieces = (b'{"a":', part, b',"b":', found, b"}")
    stored = b'{"a":' + Marker(PART, 1).text + b',"b":' + Marker(LIST, 1).text + b"}"
    state = hashlib.sha256()
    hash_text(state, stored, {Marker(PART, 1): part.name, Marker(LIST, 1): found.name})
    assert state.digest() == name_of(pieces)
    assert name_of((b'{"a":', Part(b"q" * 32, ()), b',"b":', found, b"}")) != name_of(pieces)
    with pytest.raises(KeyError):
        hash_text(state, stored, {})


# Compression.


@pytest.mark.parametrize("length", [0, 1, 255, 256, 2047, 2048, 4096, 8192, 16_384, 40_000, 65_536, 65_537])
def test_packed_text_is_unpacked(length: int) -> None:
    for data in (b"[" + b"1" * length, encode(text(length)).data, encode({"a": text(length)}).data):
        packed = pack(data)
        assert unpack(packed) == data
        assert len(packed) <= len(data)
        assert (packed != data) == (256 <= len(data) <= 65_536)


def test_what_does_not_shrink_is_kept_as_it_is() -> None:
    noise = random.Random(0).randbytes(500)
    assert pack(b"[" + noise) == b"[" + noise


@pytest.mark.parametrize(
    "data",
    [
        b"x", b"x\x9c", b"H\r garbage", zlib.compress(b"1" * 500)[:-1], zlib.compress(b"1" * 500) + b"1",
        zlib.compress(b"1" * 65_537), zlib.compress(b"1" * 100_000_000),
    ],
    ids=["x", "header", "garbage", "cut short", "more behind", "too long", "bomb"],
)  # fmt: skip
def test_damaged_compressed_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        unpack(data)
