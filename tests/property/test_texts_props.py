"""Columns as codes are the lists that they stand for."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from models import columns
from models.schema import Declaration, fit_spec, segments_of

WORDS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "news.example", "é"]))
ROWS = st.lists(WORDS, max_size=30)
LISTS = st.lists(
    st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "7", "x y"]), max_size=5)), max_size=20
)


def chunked(values: list[object], kind: pa.DataType, cut: int) -> pa.ChunkedArray:
    """In two chunks, so that each has a dictionary of its own."""
    return pa.chunked_array([pa.array(values[:cut], kind), pa.array(values[cut:], kind)], kind)


@given(ROWS, st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_texts_read_like_their_list(values, cut, begin, end):
    texts = columns.texts(chunked(values, pa.string(), cut), "c", "t")
    assert texts == values
    assert list(texts) == [texts[row] for row in range(len(texts))] == values
    assert texts[begin:end] == values[begin:end]
    picked = np.arange(len(values))[::2]
    assert texts[picked] == values[::2]
    assert np.asarray(texts).tolist() == values
    assert texts.counts() == {value: values.count(value) for value in set(values) if value is not None}


@given(LISTS, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_lists_of_texts_read_like_their_list(values, cut, begin, end):
    lists = columns.segment_lists(chunked(values, pa.list_(pa.string()), cut))
    plain = [segments_of(value) for value in values]
    assert lists == plain
    assert list(lists) == [lists[row] for row in range(len(lists))] == plain
    assert lists[begin:end] == plain[begin:end]
    assert lists[np.arange(len(values))[::-1]] == plain[::-1]
    counts = {name: sum(name in row for row in plain) for name in {name for row in plain for name in row}}
    assert lists.counts() == counts


@given(ROWS.filter(bool), st.data())
def test_codes_give_the_spec_and_the_matrix_of_the_plain_lists(values, data):
    lists = data.draw(
        st.lists(
            LISTS.map(lambda rows: rows[0] if rows else None), min_size=len(values), max_size=len(values)
        )
    )
    joined = [None if row is None else ";".join(row) for row in lists]
    declared = (Declaration("w", "categorical"), Declaration("segments", "segments", top=3))
    plain = {"w": values, "segments": lists}
    for segments in (
        pa.chunked_array([pa.array(lists, pa.list_(pa.string()))]),
        pa.chunked_array([pa.array(joined, pa.string())]),
    ):
        coded = {
            "w": columns.texts(pa.chunked_array([pa.array(values, pa.string())]), "w", "t"),
            "segments": columns.segment_lists(segments),
        }
        one, two = (fit_spec(found, declared, min_count=1, max_categories=3) for found in (plain, coded))
        assert one.features == two.features
        np.testing.assert_array_equal(one.encode_table(plain), one.encode_table(coded))
