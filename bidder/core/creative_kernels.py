"""Which of a line item's creatives fit a slot, and which of these is shown.

A creative is held number by number against what the slot takes (`core.specs`) and what the request bars. Among
several that fit, one is drawn by Thompson sampling (Thompson 1933; Chapelle and Li, NeurIPS 2011): a click rate is
drawn for each from what is known of it, and the highest is shown. The draws come from the bid's own seed, so a
replay draws the same.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

import numpy as np
from numba import njit

(C_MEDIA, C_SIZE, C_ATTR, C_BTYPE, C_MIME, C_API, C_PROTOCOL, C_DURATION, C_BITRATE, C_LINEARITY, C_DELIVERY,
 C_SECURE, C_LANGUAGE, C_EXCHANGES, C_BLOCK_START, C_BLOCK_END, C_NATIVE, C_FLEX) = range(18)  # fmt: skip
"""Columns of a creative, `bidder.core.creatives.C`."""

(S_MEDIA, S_SIZES, S_SIZES_END, S_ATTR, S_BTYPE, S_MIME, S_API, S_PROTOCOL, S_MIN_S, S_MAX_S, S_RQD, S_RQD_END,
 S_MIN_KBPS, S_MAX_KBPS, S_LINEARITY, S_DELIVERY, S_NATIVE) = range(17)  # fmt: skip
"""Columns of a slot, `bidder.core.specs.S`."""

R_SECURE = 32
R_EXCHANGE_BIT, R_SEED, R_BANNER, R_BLOCKS, R_BLOCKS_END, R_LANGUAGE_OK = 3, 8, 9, 16, 17, 18
"""Of an opportunity, see `bidder.core.kernels`."""

(
    SIZE,
    APPROVAL,
    UNSAFE,
    BLOCKED,
    ATTRIBUTE,
    TYPE,
    MIME,
    API,
    PROTOCOL,
    DURATION,
    DELIVERY,
    LANGUAGE,
    ASSETS,
) = range(230, 243)
"""`bidder.openrtb.reasons.Reason`, in the order of the checks."""

PRIOR_CLICKS, PRIOR_SHOWN = 1.0, 200.0
"""What is believed of a creative before it was shown: one click in two hundred."""

BANNER, VIDEO, AUDIO, NATIVE = 1, 2, 3, 4

_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
_MIX_1 = np.uint64(0xBF58_476D_1CE4_E5B9)
_MIX_2 = np.uint64(0x94D0_49BB_1331_11EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_HALF_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFF_FFFF)


@njit(cache=True)
def creative_fault(
    row, flags, one, creatives, creative_blocks, slots, slot_lists, native_ok, row_blocks, seconds_left
):
    """Why creative `one` cannot be shown in the impression of `row`: a reason, or 0.

    Args:
        row: int64[23], by R_ column of `bidder.core.kernels`. flags: its flags.
        one: row of the creative. creatives, creative_blocks: see `Creatives`.
        slots, slot_lists, native_ok: see `SlotBook`. row_blocks: what rows bar of single creatives.
        seconds_left: of the pod that the impression is in.
    """
    one = np.uint64(one)
    media = creatives[one, C_MEDIA]
    slot = row[np.uint64(R_BANNER + media - 1)]
    if slot < 0:
        return SIZE
    slot = np.uint64(slot)
    if media == BANNER:
        size, flex = creatives[one, C_SIZE], creatives[one, C_FLEX]
        found = False
        for k in range(slots[slot, S_SIZES], slots[slot, S_SIZES_END]):
            found |= slot_lists[k] == size or (flex != 0 and slot_lists[k] == flex)
        if not found:
            return SIZE
    if creatives[one, C_EXCHANGES] & row[R_EXCHANGE_BIT] == 0:
        return APPROVAL
    if flags & R_SECURE != 0 and creatives[one, C_SECURE] == 0:
        return UNSAFE
    for k in range(creatives[one, C_BLOCK_START], creatives[one, C_BLOCK_END]):
        for i in range(row[R_BLOCKS], row[R_BLOCKS_END]):
            if creative_blocks[k] == row_blocks[i]:
                return BLOCKED
    if creatives[one, C_ATTR] & slots[slot, S_ATTR] != 0:
        return ATTRIBUTE
    if slots[slot, S_BTYPE] >> creatives[one, C_BTYPE] & 1 != 0:
        return TYPE
    if media != NATIVE and creatives[one, C_MIME] & slots[slot, S_MIME] == 0:
        return MIME
    if creatives[one, C_API] & ~slots[slot, S_API] != 0:
        return API
    if media == VIDEO or media == AUDIO:
        fault = linear_fault(one, creatives, slot, slots, slot_lists, seconds_left)
        if fault != 0:
            return fault
    if row[R_LANGUAGE_OK] != -1 and creatives[one, C_LANGUAGE] & row[R_LANGUAGE_OK] == 0:
        return LANGUAGE
    if media == NATIVE and native_ok[slots[slot, S_NATIVE], creatives[one, C_NATIVE]] == 0:
        return ASSETS
    return 0


@njit(cache=True)
def linear_fault(one, creatives, slot, slots, slot_lists, seconds_left):
    """What a video or audio slot asks beyond other media (OpenRTB 2.6 sections 3.2.7 and 3.2.8)."""
    if slots[slot, S_PROTOCOL] & creatives[one, C_PROTOCOL] == 0:
        return PROTOCOL
    seconds = creatives[one, C_DURATION]
    if seconds > seconds_left:
        return DURATION
    if slots[slot, S_RQD] < slots[slot, S_RQD_END]:
        exact = False
        for k in range(slots[slot, S_RQD], slots[slot, S_RQD_END]):
            exact |= slot_lists[k] == seconds
        if not exact:
            return DURATION
    elif not slots[slot, S_MIN_S] <= seconds <= slots[slot, S_MAX_S]:
        return DURATION
    rate = creatives[one, C_BITRATE]
    if rate != 0 and not slots[slot, S_MIN_KBPS] <= rate <= slots[slot, S_MAX_KBPS]:
        return DELIVERY
    if slots[slot, S_LINEARITY] != 0 and slots[slot, S_LINEARITY] != creatives[one, C_LINEARITY]:
        return DELIVERY
    if slots[slot, S_DELIVERY] >> creatives[one, C_DELIVERY] & 1 == 0:
        return DELIVERY
    return 0


@njit(cache=True)
def product(a, b):
    """The low 64 bits of a product, made of halves: NumPy without compilation warns of one that does not fit."""
    low = (a & _LOW) * (b & _LOW)
    middle = ((a >> _HALF_WORD) * (b & _LOW) & _LOW) + ((a & _LOW) * (b >> _HALF_WORD) & _LOW) & _LOW
    return (low & _LOW) | (((low >> _HALF_WORD) + middle & _LOW) << _HALF_WORD)


@njit(cache=True)
def next_word(state):
    """One step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the word that `state[0]` comes to."""
    low = (state[0] & _LOW) + (_GOLDEN & _LOW)
    high = (state[0] >> _HALF_WORD) + (_GOLDEN >> _HALF_WORD) + (low >> _HALF_WORD)
    state[0] = (low & _LOW) | ((high & _LOW) << _HALF_WORD)
    word = state[0]
    word = product(word ^ (word >> _S30), _MIX_1)
    word = product(word ^ (word >> _S27), _MIX_2)
    return word ^ (word >> _S31)


@njit(cache=True)
def uniform(state):
    """A number in (0, 1)."""
    return (float(next_word(state) >> _S11) + 0.5) * 2.0**-53


@njit(cache=True)
def gamma(state, shape):
    """A draw of the gamma law with shape >= 1 (Marsaglia and Tsang 2000)."""
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        normal = math.sqrt(-2.0 * math.log(uniform(state))) * math.cos(2.0 * math.pi * uniform(state))
        v = (1.0 + c * normal) ** 3
        if v > 0.0 and math.log(uniform(state)) < 0.5 * normal * normal + d - d * v + d * math.log(v):
            return d * v


@njit(cache=True)
def choose_creative(
    row, flags, line, creatives, creative_starts, creative_rows, creative_blocks, slots, slot_lists, native_ok,
    row_blocks, seconds_left, shown, clicked,
):  # fmt: skip
    """The creative of a line item to show: of those that fit, the one whose drawn click rate is the highest.

    Args:
        row to seconds_left: as `creative_fault` takes them.
        line: the line item. creative_starts, creative_rows: see `Creatives`.
        shown, clicked: float64[creatives], how often each was.

    Returns:
        Its row, -1 where none fits.
    """
    state = np.empty(1, dtype=np.uint64)
    best = -1
    best_rate = -1.0
    for k in range(creative_starts[line], creative_starts[line + 1]):
        one = creative_rows[k]
        if (
            creative_fault(
                row,
                flags,
                one,
                creatives,
                creative_blocks,
                slots,
                slot_lists,
                native_ok,
                row_blocks,
                seconds_left,
            )
            != 0
        ):
            continue
        state[0] = np.uint64(row[R_SEED]) + np.uint64(k - creative_starts[line])
        hits = PRIOR_CLICKS + clicked[one]
        misses = PRIOR_SHOWN - PRIOR_CLICKS + max(shown[one] - clicked[one], 0.0)
        a = gamma(state, hits)
        rate = a / (a + gamma(state, misses))
        if rate > best_rate:
            best = one
            best_rate = rate
    return best


@njit(cache=True)
def first_fitting(
    row, flags, rows, begin, end, creatives, creative_blocks, slots, slot_lists, native_ok, row_blocks, seconds_left
):  # fmt: skip
    """The first creative of a line item that fits, -1 for none; how many do; and else the worst of what is wrong.

    Args:
        rows: int32[], places of creatives, its own from `begin` to `end`: a slice would be counted as a reference.
            The others as `creative_fault` has them.
    """
    creative, choices, fault = -1, 0, 0
    for k in range(begin, end):
        one = rows[k]
        found = creative_fault(
            row, flags, one, creatives, creative_blocks, slots, slot_lists, native_ok, row_blocks, seconds_left
        )  # fmt: skip
        if found == 0:
            choices += 1
            if creative < 0:
                creative = one
        else:
            fault = max(fault, found)
    return creative, choices, fault
