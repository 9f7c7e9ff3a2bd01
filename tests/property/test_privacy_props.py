"""Privacy under any input: nothing raises, nothing broken permits more, and no signal adds a permission."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bidder.privacy.bits import ConsentError
from bidder.privacy.canada import read_tcf_canada
from bidder.privacy.gpp import in_force, section_ids
from bidder.privacy.permissions import ALL, NONE, PrivacyPolicy, permissions
from bidder.privacy.tcf import decode_tcf, purpose, read_tcf
from bidder.privacy.us import US_SECTIONS, decode_us, read_us
from tests.support import consent
from tests.support.consent import Tcf

VENDOR = st.integers(1, 300)
IDS = st.sets(VENDOR, max_size=12).map(sorted)
PURPOSES = st.sets(st.integers(1, 24)).map(sorted)
TCF = st.fixed_dictionaries(
    {
        "purposes": PURPOSES,
        "interest": PURPOSES,
        "vendors": IDS,
        "vendor_interest": IDS,
        "features": st.sets(st.integers(1, 12)).map(sorted),
        "restrictions": st.lists(st.tuples(st.integers(1, 24), st.integers(0, 3), IDS), max_size=4),
        "as_ranges": st.booleans(),
        "policy": st.integers(2, 6),
    }
).map(lambda fields: Tcf(**fields))
US = st.sampled_from(sorted(consent.US_FIELDS)).flatmap(
    lambda layout: st.tuples(
        st.just(layout[0]),
        st.lists(st.integers(0, 2), max_size=len(consent.us_fields(*layout))).map(
            lambda values: consent.us(layout[0], values, version=layout[1])
        ),
    )
)
SECTION = st.one_of(
    US,
    TCF.map(lambda fields: (2, fields.text)),
    TCF.map(lambda fields: (5, fields.canadian)),
    st.text("YNyn-", min_size=3, max_size=3).map(lambda text: (6, "1" + text)),
)
GPP = st.lists(SECTION, max_size=4).map(dict).map(consent.gpp)
LETTERS = st.text(consent.ALPHABET + ".~", max_size=90)
ANY_TEXT = st.one_of(st.text(max_size=60), LETTERS, LETTERS.map("DBAB".__add__), LETTERS.map("CP".__add__))
POLICY = st.builds(
    PrivacyPolicy, vendor_id=st.integers(0, 300), gdpr_unknown=st.sampled_from(["personal", "none"])
)
SIDS = st.none() | st.lists(st.integers(-1, 28), max_size=3)
FLAG = st.integers(-1, 2)
ABSENT: dict[str, Any] = {
    "coppa": 0,
    "gdpr": 0,
    "consent": None,
    "us_privacy": None,
    "gpp": None,
    "gpp_sid": None,
    "lmt": 0,
    "dnt": 0,
}
SIGNALS = st.fixed_dictionaries(
    {
        "coppa": FLAG,
        "gdpr": st.none() | FLAG,
        "consent": st.none() | TCF.map(lambda fields: fields.text) | ANY_TEXT,
        "us_privacy": st.none() | st.sampled_from(["1YNN", "1YYN", "1---", "x"]) | ANY_TEXT,
        "gpp": st.none() | GPP | ANY_TEXT,
        "gpp_sid": SIDS,
        "lmt": FLAG,
        "dnt": FLAG,
    }
)
GROUPS = (("coppa",), ("gdpr", "consent"), ("us_privacy",), ("gpp", "gpp_sid"), ("lmt",), ("dnt",))
"""Signals that mean something only together."""


LETTERS_AT = frozenset({18, 19, 33, 34, 35})
"""Characters with a code of two letters, language or country, which the lazy reader does not look at."""


def spoiled(text: str, at: int, letter: str) -> str:
    at %= max(1, len(text))
    return text[:at] + letter + text[at + 1 :]


@given(SIGNALS, POLICY)
def test_whatever_is_sent_has_permissions(signals: dict[str, Any], policy: PrivacyPolicy) -> None:
    assert NONE <= permissions(**signals, policy=policy) <= ALL


@given(SIGNALS, POLICY)
def test_permissions_are_the_intersection_of_those_by_each_law(
    signals: dict[str, Any], policy: PrivacyPolicy
) -> None:
    expected = ALL
    for group in GROUPS:
        alone = {**ABSENT, **{name: signals[name] for name in group}}
        expected &= permissions(**alone, policy=policy)
    assert permissions(**signals, policy=policy) == expected


@given(SIGNALS, POLICY, st.sampled_from(["coppa", "us_privacy", "gpp", "lmt", "dnt"]), st.data())
def test_a_signal_more_never_adds_a_permission(
    signals: dict[str, Any], policy: PrivacyPolicy, name: str, data: st.DataObject
) -> None:
    without = {**signals, name: ABSENT[name]}
    if name == "gpp":
        without["gpp_sid"] = None
    with_it = {
        **without,
        name: data.draw(st.just(signals[name]) | st.just(1 if name in {"coppa", "lmt", "dnt"} else "x")),
    }
    before, after = permissions(**without, policy=policy), permissions(**with_it, policy=policy)
    assert after & ~before == 0


@given(TCF, POLICY, st.integers(1))
def test_a_cut_tc_string_never_permits_more(fields: Tcf, policy: PrivacyPolicy, cut: int) -> None:
    whole = f"{fields.text}.{consent.disclosed((1, 2))}"
    size = 1 + cut % (len(whole) - 1)
    signals = {**ABSENT, "gdpr": 1}
    before = permissions(**{**signals, "consent": whole}, policy=policy)
    after = permissions(**{**signals, "consent": whole[:size]}, policy=policy)
    assert after & ~before == 0
    assert size >= len(fields.bits) / 6 or after == NONE


@given(GPP, POLICY, st.integers(1))
def test_a_cut_gpp_string_never_permits_more(text: str, policy: PrivacyPolicy, cut: int) -> None:
    """Sections here have no segments: a string cut where one ends is a whole one that says less."""
    size = 1 + cut % len(text)
    before = permissions(**{**ABSENT, "gpp": text}, policy=policy)
    after = permissions(**{**ABSENT, "gpp": text[:size]}, policy=policy)
    assert after & ~before == 0


@given(ANY_TEXT, VENDOR)
def test_readers_of_any_text_raise_consent_errors_alone(text: str, vendor: int) -> None:
    readers: list[Any] = [decode_tcf, section_ids, lambda t: in_force(t, None)]
    readers += [lambda t: read_tcf(t, vendor), lambda t: read_tcf_canada(t, vendor)]
    readers += [lambda t, s=s: read_us(s, t) for s in US_SECTIONS]
    readers += [lambda t, s=s: decode_us(s, t) for s in US_SECTIONS]
    for read in readers:
        try:
            read(text)
        except ConsentError:
            continue


@given(TCF, VENDOR, st.integers(0), st.sampled_from(consent.ALPHABET))
def test_both_readers_agree_on_a_string_with_any_letter_changed(
    fields: Tcf, vendor: int, at: int, letter: str
) -> None:
    """What one refuses the other does, but for letters of a code, a platform's id and the scope."""
    text = spoiled(fields.text, at, letter)
    try:
        verdict = read_tcf(text, vendor)
    except ConsentError:
        try:
            found = decode_tcf(text)
        except ConsentError:
            return
        assert found.cmp_id < 2 or not found.service_specific
        return
    if at % len(text) in LETTERS_AT:
        return
    found = decode_tcf(text)
    assert verdict.vendor_consent == (vendor in found.vendors_consent)
    assert verdict.vendor_interest == (vendor in found.vendors_interest)
    assert verdict.precise_geo == (1 in found.special_features)
    by_consent = set(found.purposes_consent) if verdict.vendor_consent else set()
    by_interest = set(found.purposes_interest) - {1} if verdict.vendor_interest else set()
    by_interest -= {3, 4, 5, 6} if found.policy_version >= 4 else set()
    for restriction in found.restrictions:
        if vendor in restriction.vendors:
            by_consent -= {restriction.purpose} if restriction.kind != 1 else set()
            by_interest -= {restriction.purpose} if restriction.kind != 2 else set()
    basis = (by_consent | by_interest) & set(range(1, 11))
    assert verdict.purposes == sum(purpose(number) for number in basis)


@given(US)
def test_flags_of_a_us_section_are_those_of_its_fields(drawn: tuple[int, str]) -> None:
    section, text = drawn
    version = int(consent.ALPHABET.index(text[0]))
    fields = [
        value
        for name, found in decode_us(section, text).items()
        if name not in {"Version", "MspaVersion"}
        for value in (found if isinstance(found, tuple) else (found,))
    ]
    kinds = consent.us_fields(section, version)
    if len(kinds) != len(fields):
        return  # the national section's short number with the long lists, which has a test of its own
    pairs = set(zip(kinds, map(int, fields), strict=True))
    flags = 1 if pairs & {("o", 1), ("n", 2)} else 0
    flags |= 2 if pairs & {("c", 1), ("c", 2)} else 0
    flags |= 4 if pairs & {("s", 1), ("g", 1), ("N", 2)} else 0
    flags |= 8 if pairs & {("g", 1), ("N", 2)} else 0
    assert read_us(section, text) == flags
