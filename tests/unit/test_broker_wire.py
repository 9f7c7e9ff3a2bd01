"""The primitives of the protocol and the frames around them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.broker.wire import FrameBuffer, Reader, WireError, Writer, frame

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=40)
FIELDS = st.one_of(
    st.tuples(st.just("int8"), st.integers(-128, 127)),
    st.tuples(st.just("int16"), st.integers(-(2**15), 2**15 - 1)),
    st.tuples(st.just("int32"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("int64"), INT64),
    st.tuples(st.just("varint"), INT64),
    st.tuples(st.just("boolean"), st.booleans()),
    st.tuples(st.just("string"), TEXT),
    st.tuples(st.just("bytes_"), st.binary(max_size=40)),
)


@given(st.lists(FIELDS))
def test_what_was_written_is_read_back(fields: list[tuple[str, object]]) -> None:
    writer = Writer()
    for kind, value in fields:
        getattr(writer, kind)(value)
    data = writer.join()
    assert len(data) == writer.size
    reader = Reader(data)
    assert [getattr(reader, kind)() for kind, _ in fields] == [value for _, value in fields]
    assert reader.left == 0


@given(st.one_of(st.none(), TEXT))
def test_text_may_be_null(text: str | None) -> None:
    writer = Writer()
    writer.string(text)
    assert Reader(writer.join()).nullable_string() == text


def test_null_bytes_are_not_empty_bytes() -> None:
    writer = Writer()
    writer.bytes_(None)
    writer.bytes_(b"")
    reader = Reader(writer.join())
    assert reader.nullable_bytes() is None
    assert reader.bytes_() == b""


@given(st.lists(st.binary(min_size=1, max_size=20)))
def test_pieces_are_written_as_one_run_of_bytes(pieces: list[bytes]) -> None:
    writer = Writer()
    writer.int32(7)
    writer.pieces([*pieces], sum(map(len, pieces)))
    writer.int8(9)
    reader = Reader(writer.join())
    assert (reader.int32(), reader.bytes_(), reader.int8()) == (7, b"".join(pieces), 9)


@given(st.binary(max_size=60), st.lists(st.sampled_from(["string", "bytes_", "array", "varint", "int64"])))
def test_rubbish_is_an_error_and_never_more(data: bytes, kinds: list[str]) -> None:
    reader = Reader(data)
    try:
        for kind in kinds:
            getattr(reader, kind)()
    except WireError as error:
        assert error.reason == "malformed"  # noqa: PT017 - not every input is an error
    assert 0 <= reader.left <= len(data)


@pytest.mark.parametrize("kind", ["string", "bytes_", "array"])
def test_null_where_there_must_be_a_value_is_an_error(kind: str) -> None:
    with pytest.raises(WireError, match="must not be null"):
        getattr(Reader(b"\xff\xff\xff\xff"), kind)()


def test_an_array_cannot_have_more_items_than_bytes_are_left() -> None:
    with pytest.raises(WireError, match="from 0 to 2 items, had 3"):
        Reader(struct.pack(">i", 3) + b"ab").array()


def test_text_that_is_not_utf8_is_an_error() -> None:
    with pytest.raises(WireError, match="UTF-8"):
        Reader(b"\x00\x01\xff").string()


def test_a_varint_ends_within_ten_bytes() -> None:
    with pytest.raises(WireError, match="varint"):
        Reader(b"\xff" * 11).varint()


@given(st.lists(st.binary(max_size=30)), st.data())
def test_frames_come_out_however_the_stream_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(struct.pack(">i", len(body)) + body for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    buffer = FrameBuffer(100)
    found: list[bytes] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += [bytes(each) for each in buffer.feed(stream[begin:end])]
    assert found == bodies


@pytest.mark.parametrize(("size", "reason"), [(-1, "malformed"), (101, "frame_too_large")])
def test_a_frame_of_a_wrong_length_is_an_error(size: int, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        list(FrameBuffer(100).feed(struct.pack(">i", size)))
    assert caught.value.reason == reason


def test_frames_before_a_broken_one_are_given() -> None:
    frames = FrameBuffer(100).feed(struct.pack(">i", 1) + b"a" + struct.pack(">i", -5))
    assert bytes(next(frames)) == b"a"
    with pytest.raises(WireError):
        next(frames)


def test_a_response_names_the_request_it_answers() -> None:
    body = Writer()
    body.int16(3)
    assert b"".join(frame(77, body)) == struct.pack(">iih", 6, 77, 3)
