"""Published clicks of bidding strategies on iPinYou, as their authors state them, for comparison.

Protocol: episodes of 1,000 auctions, each with the budget share times the mean cost of 1,000 training auctions; a
bid wins at or above the price. Test parts: 1458 614,638 auctions and 515 clicks; 2259 417,197 and 130; 2261 343,862
and 97; 2821 661,964 and 378; 2997 156,063 and 530; 3358 300,928 and 260; 3386 545,421 and 445; 3427 536,795 and 366;
3476 523,848 and 287.

Nobody's table can be met exactly with a part of the data: see `same_rows`.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """Clicks of one campaign at one budget share."""

    ss_mdp: int
    mcpc: int
    lin: int
    rlb: int


README = "han-cai/rlb-dp, README at 0a7de7e: T = 1000, c0 = 1/32, first 300,000 test rows"
PAPER = "Cai et al., WSDM 2017, table 3: T = 1000, c0 = 1/16, all test rows"

CLICKS: dict[float, dict[str, Published]] = {
    1 / 32: {
        "1458": Published(9, 108, 218, 242),
        "2259": Published(6, 7, 4, 10),
        "2261": Published(8, 5, 7, 9),
        "2821": Published(17, 9, 12, 19),
        "2997": Published(80, 48, 63, 78),
        "3358": Published(9, 80, 96, 210),
        "3386": Published(6, 14, 31, 34),
        "3427": Published(3, 43, 113, 143),
        "3476": Published(14, 29, 54, 98),
    },
    1 / 16: {
        "1458": Published(42, 405, 455, 473),
        "2259": Published(13, 11, 17, 23),
        "2261": Published(16, 12, 16, 17),
        "2821": Published(49, 38, 59, 66),
        "2997": Published(116, 82, 77, 119),
        "3358": Published(15, 144, 212, 219),
        "3386": Published(24, 56, 89, 109),
        "3427": Published(20, 178, 279, 307),
        "3476": Published(38, 103, 211, 203),
    },
}
"""By budget share and campaign."""

SOURCES = {1 / 32: README, 1 / 16: PAPER}


def same_rows(name: str) -> str:
    """How the rows of a piece of the recorded log stand to the rows behind the published figures."""
    campaign, _, piece = name.partition(" ")
    if piece == "blocks":
        return "other rows: blocks of the training part that hold a click, so that clicks are more frequent"
    if campaign == "2259":
        return "the head of the test part: at most 80,000 of the rows behind the published figure"
    if campaign == "1458":
        return "other rows: the head of the training part"
    return "other rows"
