"""Draws that belong to a row."""

import pytest

from simulator.logs.draws import key_of, uniform, uniforms


def test_draws_are_of_the_text_the_seed_and_the_purpose():
    draws = {
        uniform(key_of(seed, purpose), text)
        for seed in (1, 2)
        for purpose in ("a", "b")
        for text in ("x", "y")
    }
    assert len(draws) == 8


def test_same_key_and_text_draw_the_same():
    assert uniforms(key_of(1, "a"), "x") == uniforms(key_of(1, "a"), "x")


def test_draws_are_even_between_zero_and_one():
    key = key_of(1, "a")
    draws = [draw for number in range(10_000) for draw in uniforms(key, str(number))]
    assert all(0 < draw < 1 for draw in draws)
    tenths = [sum(low <= draw * 10 < low + 1 for draw in draws) for low in range(10)]
    assert all(abs(count - 4_000) < 4 * 60 for count in tenths)


@pytest.mark.parametrize(("seed", "purpose"), [(-1, "a"), (2**64, "a"), (1, ""), (1, "x" * 25)])
def test_key_out_of_range_is_refused(seed, purpose):
    with pytest.raises(ValueError, match="must"):
        key_of(seed, purpose)
