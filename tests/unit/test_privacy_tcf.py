"""TC strings: what they say for one vendor, what they say in all, and what is refused."""

import msgspec
import pytest

from bidder.privacy import tcf
from bidder.privacy.bits import Bits, ConsentError, bits_of, sextets_of
from bidder.privacy.canada import read_tcf_canada
from bidder.privacy.tcf import Restriction, TcfVerdict, TcString, decode_tcf, purpose, read_tcf
from tests.support import consent
from tests.support.consent import Tcf

US = 5
ALL_TEN = range(1, 11)


def purposes(verdict: TcfVerdict) -> list[int]:
    return [number for number in ALL_TEN if verdict.purposes & purpose(number)]


def basis(fields: Tcf, vendor: int = US) -> list[int]:
    return purposes(read_tcf(fields.text, vendor))


def spliced(bits: str, at: int, new: str) -> str:
    """A string with some of its bits changed."""
    return consent.text_of(bits[:at] + new + bits[at + len(new) :])


class TestBits:
    def test_a_text_is_six_bits_a_character_and_no_more(self) -> None:
        for size in range(9):
            assert bits_of("_" * size) == (1 << 6 * size) - 1

    def test_every_letter_has_its_number(self) -> None:
        assert list(sextets_of(consent.ALPHABET)) == list(range(64))
        assert [bits_of(letter) for letter in consent.ALPHABET] == list(range(64))

    @pytest.mark.parametrize("text", ["A+", "A/", "A=", "QQ==", "A A", "A.", "Ä", "AA\n", "A\0", "\ud800"])
    def test_another_character_is_refused(self, text: str) -> None:
        with pytest.raises(ConsentError, match="base64url"):
            bits_of(text)
        with pytest.raises(ConsentError, match="base64url"):
            sextets_of(text)

    def test_a_field_past_the_end_is_refused_with_its_place(self) -> None:
        bits = Bits(bits_of("AAA"), 18)
        bits.uint(12)
        with pytest.raises(ConsentError, match="field of 7 bits at bit 12 must end by bit 18"):
            bits.uint(7)

    @pytest.mark.parametrize("number", [1, 2, 3, 4, 7, 12, 27, 255, 4181])
    def test_a_fibonacci_number_comes_back(self, number: int) -> None:
        written = consent.fibonacci(number)
        assert Bits(int(written, 2), len(written)).fibonacci() == number

    def test_a_fibonacci_number_without_end_is_refused(self) -> None:
        with pytest.raises(ConsentError, match="Fibonacci"):
            Bits(0, 99).fibonacci()

    def test_no_error_holds_the_text(self) -> None:
        text = Tcf().text
        for wrong in (text[:-3] + "+++", text[:40], "D" + text[1:], text[:-6]):
            with pytest.raises(ConsentError) as caught:
                read_tcf(wrong, US)
            assert wrong[:8] not in str(caught.value)


class TestVectors:
    @pytest.mark.parametrize("fields", consent.vectors(), ids=lambda fields: f"{len(fields.text)}-chars")
    def test_every_field_of_a_string_comes_back(self, fields: Tcf) -> None:
        assert decode_tcf(fields.text) == TcString(
            version=2,
            created_ms=fields.created_ms,
            updated_ms=fields.updated_ms,
            cmp_id=fields.cmp_id,
            cmp_version=fields.cmp_version,
            consent_screen=fields.screen,
            consent_language=fields.language,
            vendor_list_version=fields.list_version,
            policy_version=fields.policy,
            service_specific=True,
            non_standard_texts=fields.non_standard_texts,
            special_features=tuple(fields.features),
            purposes_consent=tuple(fields.purposes),
            purposes_interest=tuple(fields.interest),
            purpose_one_treatment=fields.purpose_one_treatment,
            publisher_country=fields.country,
            vendors_consent=tuple(fields.vendors),
            vendors_interest=tuple(fields.vendor_interest),
            restrictions=tuple(
                Restriction(purpose=number, kind=kind, vendors=tuple(vendors))
                for number, kind, vendors in fields.restrictions
            ),
        )

    @pytest.mark.parametrize("fields", consent.vectors(), ids=lambda fields: f"{len(fields.text)}-chars")
    def test_the_lazy_reader_says_what_the_fields_say(self, fields: Tcf) -> None:
        for vendor in {0, 1, 2, 17, 39, 40, 41, 699, 700, 701, 1399, 1400, 1401, 65_535, *fields.vendors[:5]}:
            assert read_tcf(fields.text, vendor) == naive(fields, vendor)

    def test_vectors_are_of_all_shapes(self) -> None:
        drawn = consent.vectors()
        assert {fields.policy for fields in drawn} == {2, 3, 4, 5}
        assert min(len(fields.text) for fields in drawn) < 60
        assert max(len(fields.text) for fields in drawn) > 500
        assert sum(bool(fields.restrictions) for fields in drawn) > 10


def naive(fields: Tcf, vendor: int) -> TcfVerdict:
    """The rule in plain sets."""
    by_consent = set(fields.purposes) if vendor in fields.vendors else set()
    by_interest = set(fields.interest) - {1} if vendor in fields.vendor_interest else set()
    if fields.policy >= 4:
        by_interest -= {3, 4, 5, 6}
    for number, kind, vendors in fields.restrictions:
        if vendor in vendors:
            by_consent -= {number} if kind in (0, 2) else set()
            by_interest -= {number} if kind in (0, 1) else set()
    return TcfVerdict(
        policy_version=fields.policy,
        purposes=sum(purpose(number) for number in (by_consent | by_interest) & set(ALL_TEN)),
        vendor_consent=vendor in fields.vendors,
        vendor_interest=vendor in fields.vendor_interest,
        precise_geo=1 in fields.features,
    )


class TestBasis:
    def test_consent_to_purpose_and_vendor_is_a_basis(self) -> None:
        assert basis(Tcf(purposes=(1, 4, 10))) == [1, 4, 10]

    def test_consent_to_a_purpose_without_the_vendor_is_none(self) -> None:
        assert basis(Tcf(vendors=(4, 6))) == []

    def test_interest_in_purpose_and_vendor_is_a_basis(self) -> None:
        assert basis(Tcf(purposes=(), interest=(2, 7), vendor_interest=(US,))) == [2, 7]

    def test_interest_in_a_purpose_without_the_vendor_is_none(self) -> None:
        assert basis(Tcf(purposes=(), interest=(2, 7), vendor_interest=(6,))) == []

    def test_purpose_1_never_rests_on_interest(self) -> None:
        assert 1 not in basis(Tcf(purposes=(), interest=(1, 2), vendor_interest=(US,), policy=2))

    @pytest.mark.parametrize(
        ("policy", "found"), [(2, [2, 3, 4, 5, 6, 7]), (3, [2, 3, 4, 5, 6, 7]), (4, [2, 7]), (5, [2, 7])]
    )
    def test_from_policy_4_on_purposes_3_to_6_need_consent(self, policy: int, found: list[int]) -> None:
        assert basis(Tcf(purposes=(), interest=range(2, 8), vendor_interest=(US,), policy=policy)) == found

    def test_consent_to_the_vendor_does_not_stand_for_interest(self) -> None:
        assert basis(Tcf(purposes=(), interest=(2,), vendors=(US,))) == []

    def test_vendor_0_has_no_basis(self) -> None:
        for as_ranges in (False, True):
            fields = Tcf(vendors=range(1, 50), vendor_interest=range(1, 50), as_ranges=as_ranges)
            verdict = read_tcf(fields.text, 0)
            assert (verdict.vendor_consent, verdict.vendor_interest, verdict.purposes) == (False, False, 0)

    @pytest.mark.parametrize("as_ranges", [False, True])
    @pytest.mark.parametrize("vendor", [1, 2, 6, 7, 8, 99, 100, 101])
    def test_bits_and_ranges_name_the_same_vendors(self, vendor: int, as_ranges: bool) -> None:
        fields = Tcf(vendors=[2, 7, 8, 9, 100], vendor_interest=[1, 6], as_ranges=as_ranges)
        verdict = read_tcf(fields.text, vendor)
        assert verdict.vendor_consent == (vendor in fields.vendors)
        assert verdict.vendor_interest == (vendor in fields.vendor_interest)

    def test_precise_geo_is_special_feature_1(self) -> None:
        assert read_tcf(Tcf(features=(1,)).text, US).precise_geo
        assert not read_tcf(Tcf(features=range(2, 13)).text, US).precise_geo

    def test_segments_after_the_core_change_nothing(self) -> None:
        core = Tcf().text
        text = f"{core}.{consent.disclosed((1, 2, 3))}.{consent.publisher((1,), ())}"
        assert read_tcf(text, US) == read_tcf(core, US)


class TestRestrictions:
    BOTH = Tcf(purposes=(2, 7), interest=(2, 7), vendor_interest=(US,))

    @pytest.mark.parametrize("kind", [0, 3])
    def test_a_purpose_not_allowed_has_no_basis(self, kind: int) -> None:
        assert basis(self.BOTH._replace(restrictions=[(2, kind, (US,))])) == [7]

    def test_consent_only_takes_interest_away(self) -> None:
        interest = Tcf(
            purposes=(7,), interest=(2, 7), vendor_interest=(US,), restrictions=[(2, 1, (US,)), (7, 1, (US,))]
        )
        assert basis(interest) == [7]

    def test_interest_only_takes_consent_away(self) -> None:
        fields = Tcf(purposes=(2, 7), interest=(7,), vendor_interest=(US,))
        assert basis(fields._replace(restrictions=[(2, 2, (US,)), (7, 2, (US,))])) == [7]

    def test_both_kinds_at_once_leave_nothing(self) -> None:
        assert basis(self.BOTH._replace(restrictions=[(2, 1, (US,)), (2, 2, (US,))])) == [7]

    def test_those_of_other_vendors_do_not_count(self) -> None:
        assert basis(self.BOTH._replace(restrictions=[(2, 0, (4, 6, 7, 8)), (7, 0, (900,))])) == [2, 7]

    def test_one_in_the_middle_of_a_range_counts(self) -> None:
        assert basis(self.BOTH._replace(restrictions=[(2, 0, range(1, 900))])) == [7]

    def test_those_of_purposes_we_never_use_are_read_over(self) -> None:
        assert basis(self.BOTH._replace(restrictions=[(24, 0, (US,)), (2, 0, (US,))])) == [7]


class TestRefused:
    @pytest.mark.parametrize("fields", consent.vectors(12), ids=lambda fields: f"{len(fields.text)}-chars")
    def test_a_string_cut_before_its_last_field_ends(self, fields: Tcf) -> None:
        bits = fields.bits
        for width in range(0, len(bits) - len(bits) % 6, 24):
            text = "".join(
                consent.ALPHABET[int(bits[at : at + 6].ljust(6, "0"), 2)] for at in range(0, width, 6)
            )
            with pytest.raises(ConsentError):
                read_tcf(text, US)
            with pytest.raises(ConsentError):
                decode_tcf(text)

    @pytest.mark.parametrize("version", [0, 1, 3, 63])
    def test_another_version(self, version: int) -> None:
        text = Tcf(version=version).text
        for read in (lambda: read_tcf(text, US), lambda: decode_tcf(text)):
            with pytest.raises(ConsentError, match=f"version of a TC string must be 2, was {version}"):
                read()

    @pytest.mark.parametrize("cmp_id", [0, 1])
    def test_an_id_that_no_platform_has(self, cmp_id: int) -> None:
        with pytest.raises(ConsentError, match=f"CMP id of a TC string must be 2 or more, was {cmp_id}"):
            read_tcf(Tcf(cmp_id=cmp_id).text, US)
        assert decode_tcf(Tcf(cmp_id=cmp_id).text).cmp_id == cmp_id

    @pytest.mark.parametrize("cmp_id", [2, 64, 4095])
    def test_not_an_id_that_one_may_have(self, cmp_id: int) -> None:
        assert basis(Tcf(cmp_id=cmp_id)) == [1, 2, 3, 4, 7]

    @pytest.mark.parametrize("others", [False, True])
    def test_the_global_scope(self, others: bool) -> None:
        with pytest.raises(ConsentError, match="was global"):
            read_tcf(Tcf(service_specific=False, non_standard_texts=others).text, US)
        assert not decode_tcf(Tcf(service_specific=False).text).service_specific

    def test_a_length_that_no_base64_has(self) -> None:
        text = Tcf().text
        with pytest.raises(ConsentError, match="1 over a multiple of 4"):
            read_tcf(text + "A" * ((1 - len(text)) % 4), US)

    def test_a_string_without_end(self) -> None:
        for read in (lambda text: read_tcf(text, US), decode_tcf):
            with pytest.raises(ConsentError, match="8192"):
                read(Tcf().text + "A" * 8192)

    def test_a_last_id_that_lost_its_last_zeros(self) -> None:
        bits = Tcf(restrictions=[(2, 0, range(1, 32_769))]).bits
        assert bits.endswith("1" + "0" * 15)
        sizes = [
            size
            for size in range(len(bits) // 6 - 2, len(bits) // 6 + 1)
            if size % 4 != 1 and 6 * size < len(bits)
        ]
        assert sizes
        for size in sizes:
            with pytest.raises(ConsentError, match="truncated"):
                read_tcf(consent.text_of(bits)[:size], US)

    def test_a_bit_set_after_the_last_field(self) -> None:
        text = Tcf().text
        for wrong in (text + "AAAB", text + "B" + "A" * 7):
            with pytest.raises(ConsentError):
                read_tcf(wrong, US)
            with pytest.raises(ConsentError):
                decode_tcf(wrong)

    def test_not_a_string_with_more_padding(self) -> None:
        assert basis(Tcf(restrictions=[(2, 0, (US,))])) == purposes(
            read_tcf(Tcf(restrictions=[(2, 0, (US,))]).text + "AAAA", US)
        )

    @pytest.mark.parametrize(
        ("first", "last"), [(0, 0), (0, 3), (9, 3), (30, 41)], ids=["zero", "from-zero", "descends", "beyond"]
    )
    def test_a_range_that_cannot_be(self, first: int, last: int) -> None:
        bits = Tcf(vendors=[*range(3, 11), 40], as_ranges=True).bits
        text = spliced(bits, 213 + 17 + 12 + 1, consent.uint(first, 16) + consent.uint(last, 16))
        for read in (lambda: read_tcf(text, US), lambda: decode_tcf(text)):
            with pytest.raises(ConsentError, match="range of vendors must ascend in 1 to 40"):
                read()

    def test_more_ranges_than_there_are(self) -> None:
        text = spliced(Tcf(as_ranges=True).bits, 213 + 17, consent.uint(4095, 12))
        with pytest.raises(ConsentError):
            read_tcf(text, US)

    @pytest.mark.parametrize("number", [0, 25, 63])
    def test_a_restriction_of_a_purpose_that_cannot_be(self, number: int) -> None:
        bits = Tcf(restrictions=[(2, 0, (US,))]).bits
        text = spliced(bits, len(bits) - 17 - 20, consent.uint(number, 6))
        for read in (lambda: read_tcf(text, US), lambda: decode_tcf(text)):
            with pytest.raises(ConsentError, match=f"purpose of a restriction must be 1 to 24, was {number}"):
                read()

    def test_letters_that_are_none(self) -> None:
        text = spliced(Tcf().bits, 108, "111111" * 2)
        with pytest.raises(ConsentError, match="letters"):
            decode_tcf(text)

    def test_a_broken_segment_after_the_core_where_all_is_decoded(self) -> None:
        for segment in ("", "A", "AAAA", consent.text_of("100" + "0" * 40), consent.disclosed((1,))[:4]):
            with pytest.raises(ConsentError):
                decode_tcf(f"{Tcf().text}.{segment}")


class TestKept:
    FIELDS = Tcf(vendors=(1, 5, 9), as_ranges=True, restrictions=[(3, 0, (US,))])

    def test_lists_of_two_strings_that_differ_in_time_alone_are_read_once(self) -> None:
        for lists in (tcf._range_list, tcf._restrictions):
            lists.cache_clear()
        found = {read_tcf(self.FIELDS._replace(updated_ms=100 * at).text, US) for at in range(50)}
        assert len(found) == 1
        # Two lists of vendors and the restrictions; of each string's own nothing is kept.
        assert tcf._range_list.cache_info().currsize == 2
        assert tcf._restrictions.cache_info().currsize == 1

    def test_lists_of_long_strings_are_not_kept(self) -> None:
        for lists in (tcf._range_list, tcf._restrictions):
            lists.cache_clear()
        long = self.FIELDS.text + "AAAA" * 600
        assert read_tcf(long, US) == read_tcf(long, US)
        assert tcf._range_list.cache_info().currsize == tcf._restrictions.cache_info().currsize == 0

    def test_what_is_kept_is_kept_by_vendor(self) -> None:
        assert basis(self.FIELDS, US) != basis(self.FIELDS, 9)


class TestSegments:
    def test_disclosed_vendors_are_decoded(self) -> None:
        assert decode_tcf(f"{Tcf().text}.{consent.disclosed((3, 4, 9))}").vendors_disclosed == (3, 4, 9)

    def test_allowed_vendors_are_decoded(self) -> None:
        segment = consent.text_of("010" + consent.vendor_list((2, 8), as_ranges=False))
        assert decode_tcf(f"{Tcf().text}.{segment}").vendors_allowed == (2, 8)

    def test_a_publishers_purposes_are_decoded(self) -> None:
        own = consent.text_of(
            "011" + consent.flags((1, 24), 24) + consent.flags((2,), 24) + "000011" + "101" + "010"
        )
        found = decode_tcf(f"{Tcf().text}.{own}")
        assert (found.publisher_consent, found.publisher_interest) == ((1, 24), (2,))
        assert (found.custom_purposes, found.custom_consent, found.custom_interest) == (3, (1, 3), (2,))

    def test_a_decoded_string_can_be_shown_as_json(self) -> None:
        shown = msgspec.to_builtins(decode_tcf(Tcf(restrictions=[(2, 1, (5, 6))]).text))
        assert shown["restrictions"] == ({"purpose": 2, "kind": 1, "vendors": (5, 6)},)


class TestCanada:
    @pytest.mark.parametrize("fields", consent.vectors(30), ids=lambda fields: f"{len(fields.text)}-chars")
    def test_it_is_read_as_in_europe_under_old_policies_but_for_purpose_1(self, fields: Tcf) -> None:
        for vendor in (0, 1, 17, 40, 700, 1401):
            europe = naive(fields._replace(policy=2), vendor)
            expected = msgspec.structs.replace(
                europe, policy_version=fields.policy, purposes=europe.purposes & ~purpose(1)
            )
            assert read_tcf_canada(fields.canadian, vendor) == expected
            assert read_tcf_canada(fields.canadian_plain, vendor) == expected

    def test_the_two_ways_to_write_ranges_differ(self) -> None:
        fields = Tcf(vendors=(5, 6, 90), as_ranges=True)
        assert len(fields.canadian) < len(fields.canadian_plain)

    def test_an_older_string_ends_before_the_restrictions(self) -> None:
        bits = Tcf(version=1).bits
        head = bits[:138] + bits[139:200] + bits[213:]
        text = consent.text_of(head[:-12])
        assert purposes(read_tcf_canada(text, US)) == [2, 3, 4, 7]

    def test_of_two_readings_only_what_both_permit_is(self) -> None:
        """The id 24,576 in 16 bits begins as 2 does in Fibonacci coding, and zeros follow."""
        start = Tcf(version=1).bits
        listed = consent.uint(24_576, 16) + "1" + consent.uint(1, 12) + "0" + consent.uint(24_576, 16)
        text = consent.text_of(start[:138] + start[139:200] + listed + "0" * 17)
        for vendor in (2, 24_576):
            verdict = read_tcf_canada(text, vendor)
            assert (verdict.purposes, verdict.vendor_consent) == (0, False)

    @pytest.mark.parametrize("wrong", [{"version": 3}, {"cmp_id": 1}, {"cmp_id": 0}])
    def test_another_version_or_platform_is_refused(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ConsentError, match="TCF Canada string must be"):
            read_tcf_canada(Tcf(**wrong).canadian, US)  # type: ignore[arg-type]

    def test_a_european_string_is_refused(self) -> None:
        with pytest.raises(ConsentError, match="version"):
            read_tcf_canada(Tcf().text, US)

    @pytest.mark.parametrize("number", [0, 25])
    def test_a_restriction_of_a_purpose_that_cannot_be_is_refused(self, number: int) -> None:
        bits = Tcf(version=1, restrictions=[(2, 0, (US,))]).bits
        bits = bits[:138] + bits[139:200] + bits[213:]
        with pytest.raises(ConsentError, match="purpose of a restriction"):
            read_tcf_canada(spliced(bits, len(bits) - 37, consent.uint(number, 6)), US)

    @pytest.mark.parametrize("text", [Tcf().canadian + "AAAB", Tcf().canadian + "A" * 4096])
    def test_more_than_its_fields_is_refused(self, text: str) -> None:
        with pytest.raises(ConsentError):
            read_tcf_canada(text, US)

    def test_a_cut_string_is_refused(self) -> None:
        text = Tcf(vendors=(300,), as_ranges=True).canadian
        for size in (0, 20, 38, 40, 42):
            with pytest.raises(ConsentError):
                read_tcf_canada(text[:size], US)
