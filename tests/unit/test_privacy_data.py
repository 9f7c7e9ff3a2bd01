"""Published consent strings, where they are there: see `tests.support.data`."""

import json
from datetime import datetime
from functools import cache
from typing import Any

import pytest

from bidder.privacy.bits import ConsentError
from bidder.privacy.canada import read_tcf_canada
from bidder.privacy.gpp import in_force, section_ids
from bidder.privacy.permissions import ALL, MEASURE, NONE, PrivacyPolicy, permissions
from bidder.privacy.tcf import TcString, decode_tcf, purpose, read_tcf
from bidder.privacy.us import OPTED_OUT, US_PRIVACY, US_SECTIONS, decode_us, read_us
from tests.support.data import recorded

POLICY = PrivacyPolicy(vendor_id=1)
FIELDS = {
    "version": "version",
    "cmpId": "cmp_id",
    "cmpVersion": "cmp_version",
    "consentScreen": "consent_screen",
    "consentLanguage": "consent_language",
    "vendorListVersion": "vendor_list_version",
    "policyVersion": "policy_version",
    "isServiceSpecific": "service_specific",
    "useNonStandardTexts": "non_standard_texts",
    "purposeOneTreatment": "purpose_one_treatment",
    "publisherCountryCode": "publisher_country",
    "specialFeatureOptins": "special_features",
    "purposeConsents": "purposes_consent",
    "purposeLegitimateInterests": "purposes_interest",
    "vendorConsents": "vendors_consent",
    "vendorLegitimateInterests": "vendors_interest",
    "vendorsDisclosed": "vendors_disclosed",
    "vendorsAllowed": "vendors_allowed",
    "publisherConsents": "publisher_consent",
    "publisherLegitimateInterests": "publisher_interest",
    "numCustomPurposes": "custom_purposes",
    "publisherCustomConsents": "custom_consent",
    "publisherCustomLegitimateInterests": "custom_interest",
}


@cache
def vectors() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(recorded("openrtb/consent_vectors.json").read_bytes())
    return loaded


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def shown(found: TcString, name: str) -> Any:
    if name == "created":
        return found.created_ms
    if name == "lastUpdated":
        return found.updated_ms
    value = getattr(found, FIELDS[name])
    return list(value) if isinstance(value, tuple) else value


def restricted(rows: list[tuple[int, int, Any]]) -> dict[tuple[int, int], set[int]]:
    """Vendors by purpose and kind, as one may be restricted in two places."""
    found: dict[tuple[int, int], set[int]] = {}
    for number, kind, ids in rows:
        found.setdefault((number, kind), set()).update(ids)
    return {key: ids for key, ids in found.items() if ids}


def published(version: int) -> list[dict[str, Any]]:
    return [vector for vector in vectors()["tcf"]["published"] if vector["decoded"]["version"] == version]


def test_every_published_tc_string_decodes_to_its_fields() -> None:
    cases = published(2)
    assert len(cases) >= 70
    for vector in cases:
        found = decode_tcf(vector["string"])
        for name, value in vector["decoded"].items():
            if name == "publisherRestrictions":
                expected = [(row["purpose"], row["type"], row["vendors"]) for row in value]
                rows = [(row.purpose, row.kind, row.vendors) for row in found.restrictions]
                assert restricted(rows) == restricted(expected)
            else:
                expected = ms(value) if name in {"created", "lastUpdated"} else value
                assert shown(found, name) == expected, (name, vector["string"])


def test_every_published_tc_string_is_read_for_one_vendor_as_it_decodes() -> None:
    read = 0
    for vector in published(2):
        fields = vector["decoded"]
        if not fields["isServiceSpecific"] or fields["cmpId"] < 2:
            with pytest.raises(ConsentError):
                read_tcf(vector["string"], 1)
            continue
        read += 1
        for vendor in (*range(60), *range(600, 1500, 7), 65_535):
            verdict = read_tcf(vector["string"], vendor)
            assert verdict.vendor_consent == (vendor in fields["vendorConsents"])
            assert verdict.vendor_interest == (vendor in fields["vendorLegitimateInterests"])
            assert verdict.precise_geo == (1 in fields["specialFeatureOptins"])
            assert verdict.purposes == basis(fields, vendor)
    assert read >= 25


def basis(fields: dict[str, Any], vendor: int) -> int:
    by_consent = set(fields["purposeConsents"]) if vendor in fields["vendorConsents"] else set()
    by_interest = set(fields["purposeLegitimateInterests"]) - {1}
    if vendor not in fields["vendorLegitimateInterests"]:
        by_interest = set()
    if fields["policyVersion"] >= 4:
        by_interest -= {3, 4, 5, 6}
    for row in fields["publisherRestrictions"]:
        if vendor in row["vendors"]:
            by_consent -= {row["purpose"]} if row["type"] != 1 else set()
            by_interest -= {row["purpose"]} if row["type"] != 2 else set()
    return sum(purpose(number) for number in (by_consent | by_interest) & set(range(1, 11)))


def test_what_their_authors_assert_of_tc_strings_holds() -> None:
    cases = vectors()["tcf_hand_asserted"]
    assert cases
    for vector in cases:
        found = decode_tcf(vector["string"])
        for name, value in vector["expect"].items():
            assert shown(found, name) == (ms(value) if name in {"created", "lastUpdated"} else value), name


def test_strings_of_version_1_are_refused() -> None:
    cases = published(1)
    assert cases
    for vector in cases:
        with pytest.raises(ConsentError, match="version"):
            decode_tcf(vector["string"])
        assert permissions(0, 1, vector["string"], None, None, None, 0, 0, POLICY) == NONE


def test_every_rejected_tc_string_is_refused() -> None:
    cases = vectors()["tcf"]["rejected_by_reference"]
    assert len(cases) >= 40
    for vector in cases:
        for vendor in (1, 32):
            with pytest.raises(ConsentError):
                read_tcf(vector["string"], vendor)
        if "for cmpId" not in vector["error"]:
            with pytest.raises(ConsentError):
                decode_tcf(vector["string"])


def sections() -> list[tuple[int, str, dict[str, Any]]]:
    """Every section of every published GPP string: its id, its text, its fields."""
    found = []
    for vector in vectors()["gpp"]["published"]:
        pairs = in_force(vector["string"], None)
        assert [section for section, _ in pairs] == vector["section_ids"]
        assert section_ids(vector["string"].split("~")[0]) == tuple(vector["section_ids"])
        found += [(*pair, fields) for pair, fields in zip(pairs, vector["sections"].values(), strict=True)]
    assert len(found) > 50
    return found


def test_every_us_section_of_a_published_gpp_string_decodes_to_its_fields() -> None:
    seen = set()
    for section, text, expected in sections():
        if section not in US_SECTIONS:
            continue
        seen.add(section)
        found = decode_us(section, text)
        read_us(section, text)
        for name, value in expected.items():
            if name == "GpcSegmentType":
                continue
            ours: Any = found[name]
            if isinstance(ours, tuple):
                # The reference shortens the lists of a long string under the short one's number.
                assert list(ours[: len(value)]) == value, (section, text, name)
                assert not any(ours[len(value) :])
            else:
                assert ours == value, (section, text, name)
    assert seen == US_SECTIONS


def test_every_european_section_decodes_to_its_fields() -> None:
    seen = 0
    for section, text, expected in sections():
        if section != 2:
            continue
        seen += 1
        found = decode_tcf(text)
        assert (found.cmp_id, found.policy_version) == (expected["CmpId"], expected["PolicyVersion"])
        assert found.purposes_consent == tuple(expected["PurposeConsents"]["true_ids"])
        assert found.purposes_interest == tuple(expected["PurposeLegitimateInterests"]["true_ids"])
        assert found.vendors_consent == tuple(expected["VendorConsents"])
        assert found.vendors_interest == tuple(expected["VendorLegitimateInterests"])
        assert found.vendors_disclosed == tuple(expected["VendorsDisclosed"])
    assert seen


def test_every_canadian_section_is_read_as_its_fields() -> None:
    read = 0
    for section, text, expected in sections():
        if section != 5:
            continue
        impossible = any(row["key"] > 24 for row in expected["PubRestrictions"])
        if expected["CmpId"] < 2 or impossible:
            with pytest.raises(ConsentError):
                read_tcf_canada(text, 1)
            continue
        for vendor in range(60):
            read += 1
            verdict = read_tcf_canada(text, vendor)
            assert verdict.vendor_consent == (vendor in expected["VendorExpressConsent"])
            assert verdict.vendor_interest == (vendor in expected["VendorImpliedConsent"])
            assert verdict.precise_geo == expected["SpecialFeatureExpressConsent"][0]
            allowed = set(expected["PurposesExpressConsent"]["true_ids"]) if verdict.vendor_consent else set()
            allowed |= (
                set(expected["PurposesImpliedConsent"]["true_ids"]) if verdict.vendor_interest else set()
            )
            mine = [number for number in range(2, 11) if verdict.purposes & purpose(number)]
            assert not expected["PubRestrictions"]
            assert mine == [number for number in range(2, 11) if number in allowed]
    assert read


def test_every_us_privacy_section_says_what_its_fields_say() -> None:
    seen = 0
    for section, text, expected in sections():
        if section == 6:
            seen += 1
            assert US_PRIVACY[text] == (OPTED_OUT if expected["OptOutSale"] == "Y" else 0)
    assert seen


def test_every_rejected_gpp_string_permits_nothing() -> None:
    cases = vectors()["gpp"]["rejected_by_reference"]
    assert cases
    for vector in cases:
        assert permissions(0, None, None, None, vector["string"], None, 0, 0, POLICY) == NONE


def test_every_section_of_the_encoders_own_tests_is_read_or_refused() -> None:
    """They have no fields beside them; some are garbage on purpose."""
    for vector in vectors()["gpp"]["sections"]:
        number, text = vector["id"], vector["string"]
        try:
            if number in US_SECTIONS:
                assert 0 <= read_us(number, text) <= 15
            elif number == 5:
                read_tcf_canada(text, 1)
            else:
                read_tcf(text, 1)
        except ConsentError:
            continue


def test_every_us_privacy_string_seen_is_read_by_its_third_character() -> None:
    for text in vectors()["us_privacy"]["strings_seen"]:
        expected = MEASURE if text[2] in "Yy" else ALL
        assert permissions(0, None, None, text, None, None, 0, 0, POLICY) == expected


def test_what_is_asserted_of_us_privacy_strings_holds() -> None:
    for example in vectors()["us_privacy"]["examples"]:
        text = example["string"]
        assert (text not in US_PRIVACY) == bool(example.get("invalid"))
        if not example.get("invalid"):
            assert US_PRIVACY[text] == (OPTED_OUT if example["optout"] else 0)
