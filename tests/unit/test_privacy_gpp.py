"""GPP strings: the header, which sections are in force, and what those of the United States say."""

import pytest

from bidder.privacy.bits import ConsentError
from bidder.privacy.gpp import in_force, section_ids
from bidder.privacy.us import (
    KNOWN_CHILD,
    NO_PRECISE_GEO,
    NO_SENSITIVE,
    OPTED_OUT,
    US_PRIVACY,
    US_SECTIONS,
    decode_us,
    read_us,
)
from tests.support import consent

LAYOUTS = sorted(consent.US_FIELDS)
IN_FEW = (9, 11, 13, 24, 27)


def of_kind(letter: str) -> list[tuple[int, int]]:
    return [layout for layout in LAYOUTS if letter in consent.us_fields(*layout)]


class TestHeader:
    @pytest.mark.parametrize(
        "ids",
        [(), (2,), (6,), (2, 6), (5, 6), (7,), (2, 5, 6), tuple(range(7, 28)), (2, *range(5, 28)), (255,)],
    )
    def test_the_ids_come_back(self, ids: tuple[int, ...]) -> None:
        assert section_ids(consent.header(ids)) == ids

    @pytest.mark.parametrize(("header", "ids"), [("DBABM", (2,)), ("DBACNY", (2, 6)), ("DBABjw", (5, 6))])
    def test_the_examples_of_the_specification_are_read(self, header: str, ids: tuple[int, ...]) -> None:
        assert section_ids(header) == ids

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "D",
            "DBA",
            "DBAB",
            "CBABM",
            "DAABM",
            "DCABM",
            "DBAB.",
            "DBABM=",
            "DBABMB",
            "DB__" + "A" * 20,
            consent.header((256,)),
            consent.header(range(2, 300)),
            consent.header((2,)) + "A" * 64,
        ],
    )
    def test_another_header_is_refused(self, header: str) -> None:
        with pytest.raises(ConsentError):
            section_ids(header)

    def test_any_cut_of_a_header_that_loses_an_id_is_refused(self) -> None:
        whole = consent.header((2, 6, 9, 13, 21))
        for size in range(len(whole)):
            try:
                ids = section_ids(whole[:size])
            except ConsentError:
                continue
            assert ids == (2, 6, 9, 13, 21)


class TestInForce:
    TEXT = consent.gpp({2: "eu", 6: "1YNN", 8: "ca"})
    EVERY = ((2, "eu"), (6, "1YNN"), (8, "ca"))

    @pytest.mark.parametrize("sids", [None, [], [0], [8, 0], [-1, 0]])
    def test_every_section_is_where_it_is_not_known_which_are(self, sids: list[int] | None) -> None:
        assert in_force(self.TEXT, sids) == list(self.EVERY)

    @pytest.mark.parametrize(
        ("sids", "found"), [([6], [EVERY[1]]), ([8, 2], [EVERY[2], EVERY[0]]), ([-1, 8], [EVERY[2]])]
    )
    def test_the_listed_ones_are(self, sids: list[int], found: list[tuple[int, str]]) -> None:
        assert in_force(self.TEXT, sids) == found

    @pytest.mark.parametrize("text", [None, "", TEXT, "broken"])
    def test_none_is_where_minus_1_says_so(self, text: str | None) -> None:
        assert in_force(text, [-1]) == []

    def test_a_header_without_sections_has_none(self) -> None:
        assert in_force(consent.gpp({}), None) == []

    @pytest.mark.parametrize("text", [None, ""])
    @pytest.mark.parametrize("sids", [[7], [0], [-1, 2]])
    def test_a_section_in_force_without_a_string_is_refused(self, text: str | None, sids: list[int]) -> None:
        with pytest.raises(ConsentError, match="GPP string must be there"):
            in_force(text, sids)

    def test_a_listed_section_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(ConsentError, match="had not 7"):
            in_force(self.TEXT, [6, 7])

    @pytest.mark.parametrize("text", [TEXT + "~more", TEXT.rpartition("~")[0], consent.header((2, 6, 8))])
    def test_more_or_fewer_sections_than_the_header_has_are_refused(self, text: str) -> None:
        with pytest.raises(ConsentError, match="the 3 sections of its header"):
            in_force(text, [6])


class TestUsSections:
    def test_every_section_from_7_to_27_is_known(self) -> None:
        assert frozenset(range(7, 28)) == US_SECTIONS == {section for section, _ in LAYOUTS}

    @pytest.mark.parametrize(("section", "version"), LAYOUTS)
    def test_one_where_nothing_applies_forbids_nothing(self, section: int, version: int) -> None:
        assert read_us(section, consent.us(section, version=version)) == 0

    @pytest.mark.parametrize(("section", "version"), LAYOUTS)
    def test_one_where_all_was_given_and_nothing_refused_forbids_nothing(
        self, section: int, version: int
    ) -> None:
        good = {"n": 1, "N": 1, "o": 2, "s": 2, "g": 2, "c": 0, "m": 1}
        values = [good[kind] for kind in consent.us_fields(section, version)]
        assert read_us(section, consent.us(section, values, version=version)) == 0

    @pytest.mark.parametrize(
        ("letter", "value", "flags"),
        [
            ("n", 2, OPTED_OUT),
            ("N", 2, NO_SENSITIVE | NO_PRECISE_GEO),
            ("o", 1, OPTED_OUT),
            ("s", 1, NO_SENSITIVE),
            ("g", 1, NO_SENSITIVE | NO_PRECISE_GEO),
            ("c", 1, KNOWN_CHILD),
            ("c", 2, KNOWN_CHILD),
            ("m", 1, 0),
            ("m", 2, 0),
            ("n", 1, 0),
            ("N", 1, 0),
            ("o", 2, 0),
            ("s", 2, 0),
            ("g", 2, 0),
        ],
    )
    def test_every_field_of_a_kind_sets_its_flags(self, letter: str, value: int, flags: int) -> None:
        layouts = of_kind(letter)
        assert layouts
        for section, version in layouts:
            for text in consent.us_with(section, letter, value, version=version):
                assert read_us(section, text) == flags, (section, version, text)

    def test_all_but_a_few_sections_have_a_category_of_precise_geolocation(self) -> None:
        assert set(LAYOUTS) - set(of_kind("g")) == {(10, 1), (24, 1), (25, 1), (26, 1), (27, 1)}

    @pytest.mark.parametrize(("section", "version"), LAYOUTS)
    def test_gpc_is_an_opt_out(self, section: int, version: int) -> None:
        assert read_us(section, consent.us(section, version=version, gpc=True)) == OPTED_OUT
        assert read_us(section, consent.us(section, version=version, gpc=False)) == 0

    @pytest.mark.parametrize(("section", "version"), LAYOUTS)
    def test_a_value_of_3_is_refused(self, section: int, version: int) -> None:
        width = len(consent.us_fields(section, version))
        for at in range(width):
            with pytest.raises(ConsentError, match="one was 3"):
                read_us(section, consent.us(section, [0] * at + [3], version=version))

    @pytest.mark.parametrize(("section", "version"), LAYOUTS)
    def test_a_cut_that_loses_a_field_is_refused(self, section: int, version: int) -> None:
        text = consent.us(section, version=version)
        fields_end = -(-(6 + 2 * len(consent.us_fields(section, version))) // 6)
        for size in range(fields_end):
            with pytest.raises(ConsentError):
                read_us(section, text[:size])
        assert read_us(section, text[:fields_end]) == 0

    @pytest.mark.parametrize("section", sorted(US_SECTIONS))
    @pytest.mark.parametrize("version", [0, 3, 63])
    def test_an_unknown_version_is_refused(self, section: int, version: int) -> None:
        bits = consent.uint(version, 6) + "0" * 90
        with pytest.raises(ConsentError, match=f"was {version}"):
            read_us(section, consent.text_of(bits))

    @pytest.mark.parametrize("section", IN_FEW)
    def test_bits_after_the_last_field_are_refused(self, section: int) -> None:
        with pytest.raises(ConsentError, match="zero after its last field"):
            read_us(section, consent.us(section) + "B")

    @pytest.mark.parametrize("segment", ["", "A", "AA", "gA", "wA", "QB", "Y=", "~"])
    def test_a_segment_that_is_not_gpc_is_refused(self, segment: str) -> None:
        for section in (7, 8, 24):
            with pytest.raises(ConsentError):
                read_us(section, f"{consent.us(section)}.{segment}")

    def test_padding_without_end_is_refused(self) -> None:
        with pytest.raises(ConsentError, match="64 characters or less"):
            read_us(9, consent.us(9) + "A" * 64)

    def test_the_long_national_lists_under_the_short_ones_number_are_read_as_long(self) -> None:
        kinds = consent.us_fields(7, 2)
        for at, kind in enumerate(kinds):
            values = [0] * len(kinds)
            values[len(kinds) - 3] = 1  # covered transaction, which every such string has
            values[at] = 1
            long = consent.us(7, values, version=2)
            assert read_us(7, "B" + long[1:]) == read_us(7, long), (at, kind)


class TestLaterSensitiveData:
    @staticmethod
    def text(values: list[int], there: str = "1", section: int = 25) -> str:
        return f"{consent.us(section)}.{consent.text_of(there + ''.join(consent.uint(v, 2) for v in values))}"

    @pytest.mark.parametrize("section", [25, 26, 27])
    def test_a_refused_category_is_one(self, section: int) -> None:
        for at in range(7):
            assert (
                read_us(section, self.text([0] * at + [1] + [0] * (7 - at), section=section)) == NO_SENSITIVE
            )

    def test_the_last_is_precise_geolocation(self) -> None:
        assert read_us(25, self.text([0] * 7 + [1])) == NO_SENSITIVE | NO_PRECISE_GEO

    def test_given_ones_forbid_nothing(self) -> None:
        assert read_us(25, self.text([2] * 8)) == 0
        assert read_us(25, self.text([0] * 8, there="0")) == 0

    def test_values_that_are_said_not_to_be_there_forbid_all(self) -> None:
        assert read_us(25, self.text([2] * 8, there="0")) == NO_SENSITIVE | NO_PRECISE_GEO

    def test_a_value_of_3_is_refused(self) -> None:
        with pytest.raises(ConsentError, match="categories"):
            read_us(25, self.text([3] + [0] * 7))

    def test_the_values_are_decoded(self) -> None:
        found = decode_us(25, self.text([0, 1, 2, 0, 1, 2, 0, 1]))
        assert found["SensitiveDataProcessing"] == (0, 1, 2, 0, 1, 2, 0, 1)
        assert (found["MspaVersion"], found["KnownChildSensitiveDataConsents"]) == (1, 0)


class TestDecodeUs:
    def test_fields_come_back_by_name(self) -> None:
        values = [1, 2, 0, 1, 2, *[0, 1, 2, 0, 1, 2, 0, 1], 2, 1, 2, 0]
        assert decode_us(9, consent.us(9, values, gpc=True)) == {
            "Version": 1,
            "SharingNotice": 1,
            "SaleOptOutNotice": 2,
            "TargetedAdvertisingOptOutNotice": 0,
            "SaleOptOut": 1,
            "TargetedAdvertisingOptOut": 2,
            "SensitiveDataProcessing": (0, 1, 2, 0, 1, 2, 0, 1),
            "KnownChildSensitiveDataConsents": 2,
            "MspaCoveredTransaction": 1,
            "MspaOptOutOptionMode": 2,
            "MspaServiceProviderMode": 0,
            "Gpc": True,
        }

    @pytest.mark.parametrize(("section", "version"), LAYOUTS)
    def test_as_many_fields_as_there_are(self, section: int, version: int) -> None:
        found = decode_us(section, consent.us(section, version=version))
        names = {"Version", "MspaVersion"}
        count = sum(len(v) if isinstance(v, tuple) else 1 for k, v in found.items() if k not in names)
        assert count == len(consent.us_fields(section, version))


class TestUsPrivacy:
    def test_the_third_character_is_the_opt_out(self) -> None:
        for text, flags in US_PRIVACY.items():
            assert flags == (OPTED_OUT if text[2] in "Yy" else 0)

    def test_every_form_is_known_in_either_case(self) -> None:
        assert len(US_PRIVACY) == 5**3
        assert {text.upper() for text in US_PRIVACY} == {
            f"1{a}{b}{c}" for a in "YN-" for b in "YN-" for c in "YN-"
        }
