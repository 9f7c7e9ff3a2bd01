"""Permissions: each signal by its rule, and the intersection of them."""

from typing import Any

import msgspec
import pytest

from bidder.privacy.permissions import (
    ALL,
    IDENTIFY,
    MEASURE,
    NONE,
    PRECISE_GEO,
    PROFILE,
    PrivacyPolicy,
    permissions,
)
from tests.support import consent
from tests.support.consent import Tcf

OURS = 5
POLICY = PrivacyPolicy(vendor_id=OURS)
FULL = Tcf(features=(1,))
ABSENT: dict[str, Any] = {
    "coppa": 0,
    "gdpr": None,
    "consent": None,
    "us_privacy": None,
    "gpp": None,
    "gpp_sid": None,
    "lmt": 0,
    "dnt": 0,
}


def of(policy: PrivacyPolicy = POLICY, **signals: Any) -> int:
    return permissions(**{**ABSENT, **signals}, policy=policy)


def by(fields: Tcf, policy: PrivacyPolicy = POLICY) -> int:
    return of(gdpr=1, consent=fields.text, policy=policy)


def test_each_permission_is_a_bit_of_its_own() -> None:
    assert (IDENTIFY, PROFILE, MEASURE, PRECISE_GEO, NONE, ALL) == (1, 2, 4, 8, 0, 15)


class TestNoSignal:
    def test_all_is_permitted(self) -> None:
        assert of() == of(policy=PrivacyPolicy()) == ALL

    def test_empty_signals_are_absent_ones(self) -> None:
        assert of(consent="", us_privacy="", gpp="", gpp_sid=[]) == ALL

    def test_a_policy_may_take_unknown_for_none(self) -> None:
        strict = PrivacyPolicy(vendor_id=OURS, gdpr_unknown="none")
        assert of(strict) == of(strict, us_privacy="1YNN") == NONE
        assert of(strict, gdpr=0) == ALL
        assert of(strict, consent=FULL.text) == ALL


class TestPolicy:
    def test_an_unknown_setting_is_refused(self) -> None:
        with pytest.raises(msgspec.ValidationError, match="unknown"):
            msgspec.convert({"vendor": 5}, PrivacyPolicy)

    @pytest.mark.parametrize("wrong", [{"vendor_id": -1}, {"vendor_id": 65_536}, {"gdpr_unknown": "all"}])
    def test_a_setting_out_of_range_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, PrivacyPolicy)


class TestDeviceAndChildren:
    @pytest.mark.parametrize("signal", ["coppa", "lmt", "dnt"])
    def test_only_counting_is_left(self, signal: str) -> None:
        assert of(**{signal: 1}) == MEASURE

    @pytest.mark.parametrize("signal", ["coppa", "lmt", "dnt"])
    def test_consent_does_not_bring_back_the_rest(self, signal: str) -> None:
        assert of(gdpr=1, consent=FULL.text, **{signal: 1}) == MEASURE

    def test_a_flag_that_is_no_0_counts(self) -> None:
        assert of(lmt=2) == of(coppa=-1) == MEASURE


class TestGdpr:
    def test_full_consent_permits_all(self) -> None:
        assert by(FULL) == ALL

    def test_0_makes_a_string_moot(self) -> None:
        assert of(gdpr=0, consent="broken") == of(gdpr=0) == ALL

    @pytest.mark.parametrize(
        "text", [None, "", "broken", FULL.text[:36], FULL.text[:42], "CP", "1YNN", "é" * 60]
    )
    def test_a_missing_or_broken_string_permits_nothing(self, text: str | None) -> None:
        assert of(gdpr=1, consent=text) == NONE

    def test_a_string_without_the_flag_is_read(self) -> None:
        assert of(consent=FULL.text) == ALL
        assert of(consent=FULL._replace(purposes=(7,)).text) == MEASURE
        assert of(consent="broken") == NONE

    def test_who_is_not_registered_may_do_nothing(self) -> None:
        for fields in (
            FULL,
            FULL._replace(vendors=range(1, 99)),
            FULL._replace(vendors=range(1, 99), as_ranges=True),
        ):
            assert by(fields, PrivacyPolicy()) == NONE

    def test_consent_to_others_permits_nothing(self) -> None:
        assert by(FULL._replace(vendors=(4, 6))) == NONE

    @pytest.mark.parametrize(
        ("missing", "permitted"),
        [
            (1, MEASURE | PRECISE_GEO),
            (2, MEASURE),
            (3, IDENTIFY | MEASURE | PRECISE_GEO),
            (4, IDENTIFY | MEASURE | PRECISE_GEO),
            (5, ALL),
            (6, ALL),
            (7, IDENTIFY | PROFILE | PRECISE_GEO),
            (8, ALL),
        ],
    )
    def test_what_a_purpose_without_consent_takes_away(self, missing: int, permitted: int) -> None:
        assert (
            by(FULL._replace(purposes=[number for number in range(1, 12) if number != missing])) == permitted
        )

    def test_precise_geo_needs_the_special_feature(self) -> None:
        assert by(FULL._replace(features=(2,))) == ALL & ~PRECISE_GEO

    def test_precise_geo_needs_consent_to_the_vendor(self) -> None:
        fields = FULL._replace(vendors=(), interest=(2, 7), vendor_interest=(OURS,))
        assert by(fields) == MEASURE

    def test_interest_will_do_for_ads_and_measurement(self) -> None:
        fields = FULL._replace(purposes=(1, 3, 4), interest=(2, 7), vendor_interest=(OURS,))
        assert by(fields) == ALL
        assert by(fields._replace(vendor_interest=())) == NONE

    def test_interest_will_do_for_profiles_under_old_policies_alone(self) -> None:
        fields = FULL._replace(purposes=(1,), interest=(2, 3, 4, 7), vendor_interest=(OURS,))
        assert by(fields._replace(policy=3)) == ALL
        assert by(fields._replace(policy=4)) == ALL & ~PROFILE

    @pytest.mark.parametrize(("purpose", "lost"), [(1, IDENTIFY | PROFILE), (3, PROFILE), (7, MEASURE)])
    @pytest.mark.parametrize("kind", [0, 2])
    def test_a_publishers_restriction_takes_a_permission_away(
        self, purpose: int, kind: int, lost: int
    ) -> None:
        assert by(FULL._replace(restrictions=[(purpose, kind, (OURS,))])) == ALL & ~lost

    def test_undisclosed_purpose_1_is_no_consent_to_it(self) -> None:
        fields = FULL._replace(purposes=(2, 3, 4, 7), purpose_one_treatment=True)
        assert by(fields) == MEASURE | PRECISE_GEO


class TestUsPrivacy:
    @pytest.mark.parametrize("text", ["1---", "1YNN", "1NNN", "1-N-", "1ynn", "1yNy", "1Y--"])
    def test_who_did_not_opt_out_permits_all(self, text: str) -> None:
        assert of(us_privacy=text) == ALL

    @pytest.mark.parametrize("text", ["1YYN", "1-Y-", "1nyn", "1NyN", "1YYY"])
    def test_who_opted_out_permits_measurement(self, text: str) -> None:
        assert of(us_privacy=text) == MEASURE

    @pytest.mark.parametrize(
        "text", ["1YY", "2YNN", "1YNX", "1YNNN", " 1YNN", "YNN", "null", "\x00", "1YN\n"]
    )
    def test_one_that_is_not_well_formed_is_an_opt_out(self, text: str) -> None:
        assert of(us_privacy=text) == MEASURE


class TestGpp:
    def test_sections_that_forbid_nothing_permit_all(self) -> None:
        text = consent.gpp({2: FULL.text, 6: "1YNN", 7: consent.us(7, gpc=False), 8: consent.us(8)})
        assert of(gpp=text) == ALL

    def test_only_the_sections_in_force_count(self) -> None:
        text = consent.gpp({2: "broken", 6: "1YYN", 7: consent.us(7)})
        assert of(gpp=text, gpp_sid=[7]) == ALL
        assert of(gpp=text, gpp_sid=[6]) == of(gpp=text, gpp_sid=[7, 6]) == MEASURE
        assert of(gpp=text, gpp_sid=[2]) == of(gpp=text) == NONE

    def test_where_none_is_in_force_nothing_is_forbidden(self) -> None:
        assert of(gpp=consent.gpp({6: "1YYN"}), gpp_sid=[-1]) == ALL

    @pytest.mark.parametrize(
        "text", ["broken", "DBAB", "DBABM", "DBABM~", "DBABM~~", "D", "~", "DBACNYA~1YNN"]
    )
    def test_a_broken_string_permits_nothing(self, text: str) -> None:
        assert of(gpp=text) == NONE

    def test_a_section_in_force_without_a_string_permits_nothing(self) -> None:
        assert of(gpp_sid=[7]) == NONE

    @pytest.mark.parametrize("section", [1, 3, 4, 28, 99])
    def test_an_unknown_section_in_force_permits_nothing(self, section: int) -> None:
        text = consent.gpp({section: "BAAAAAAA", 6: "1YNN"})
        assert of(gpp=text, gpp_sid=[section]) == of(gpp=text) == NONE
        assert of(gpp=text, gpp_sid=[6]) == ALL

    def test_the_european_section_is_a_tc_string(self) -> None:
        text = consent.gpp({2: FULL._replace(purposes=(1, 2)).text})
        assert of(gpp=text, gpp_sid=[2]) == IDENTIFY | PRECISE_GEO
        assert of(gpp=text, gpp_sid=[2], gdpr=1, consent=FULL.text) == IDENTIFY | PRECISE_GEO

    def test_it_does_not_stand_for_a_missing_consent_string(self) -> None:
        assert of(gpp=consent.gpp({2: FULL.text}), gpp_sid=[2], gdpr=1) == NONE

    def test_the_canadian_section_does_without_purpose_1(self) -> None:
        text = consent.gpp({5: FULL._replace(purposes=(2, 3, 4, 7)).canadian})
        assert of(gpp=text) == ALL
        assert of(PrivacyPolicy(), gpp=text) == NONE

    def test_implied_consent_will_do_for_all_but_precise_geo_in_canada(self) -> None:
        fields = Tcf(purposes=(), vendors=(), interest=(2, 3, 4, 7), vendor_interest=(OURS,), features=(1,))
        assert of(gpp=consent.gpp({5: fields.canadian})) == ALL & ~PRECISE_GEO

    @pytest.mark.parametrize("text", ["1YN", "present", "", "2---"])
    def test_a_us_privacy_section_that_is_not_well_formed_permits_nothing(self, text: str) -> None:
        assert of(gpp=consent.gpp({6: text})) == NONE

    @pytest.mark.parametrize(
        ("letter", "value", "permitted"),
        [
            ("o", 1, MEASURE),
            ("n", 2, MEASURE),
            ("c", 1, MEASURE),
            ("c", 2, MEASURE),
            ("s", 1, ALL & ~PROFILE),
            ("g", 1, ALL & ~PROFILE & ~PRECISE_GEO),
            ("N", 2, ALL & ~PROFILE & ~PRECISE_GEO),
            ("m", 2, ALL),
        ],
    )
    @pytest.mark.parametrize("section", [7, 8, 11, 18])
    def test_a_us_section_forbids_by_kind_of_field(
        self, section: int, letter: str, value: int, permitted: int
    ) -> None:
        texts = consent.us_with(section, letter, value)
        assert texts
        for text in texts:
            assert of(gpp=consent.gpp({section: text}), gpp_sid=[section]) == permitted

    def test_gpc_permits_measurement(self) -> None:
        assert of(gpp=consent.gpp({7: consent.us(7, gpc=True)})) == MEASURE

    def test_a_broken_us_section_permits_nothing(self) -> None:
        assert of(gpp=consent.gpp({7: consent.us(7)[:-3]})) == NONE
