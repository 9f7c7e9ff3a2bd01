"""Supply chains against a policy."""

from typing import Any

import msgspec
import pytest

from bidder.openrtb.schain import BLOCKED, INCOMPLETE, SchainFilter, SchainPolicy, schain_verdict

NODES = [("exchange.example", "100"), ("reseller.example", "Seller-7")]


def policy(**fields: Any) -> SchainPolicy:
    return msgspec.convert(fields, SchainPolicy)


def verdict(nodes: Any = NODES, complete: int | None = 1, **fields: Any) -> int:
    return schain_verdict(complete, nodes, policy(**fields))


def test_verdicts_are_the_no_bid_codes() -> None:
    assert (INCOMPLETE, BLOCKED) == (16, 17)


@pytest.mark.parametrize("complete", [1, 0, None])
@pytest.mark.parametrize("nodes", [NODES, [], None])
def test_without_rules_every_chain_and_none_is_bought(complete: int | None, nodes: Any) -> None:
    assert verdict(nodes, complete) == 0


@pytest.mark.parametrize("nodes", [None, []])
def test_no_chain_where_one_is_required_is_incomplete(nodes: Any) -> None:
    assert verdict(nodes, require=True) == INCOMPLETE


@pytest.mark.parametrize("complete", [0, None])
def test_an_incomplete_chain_will_do_where_only_one_is_required(complete: int | None) -> None:
    assert verdict(NODES, complete, require=True) == 0


@pytest.mark.parametrize(
    ("complete", "found"), [(1, 0), (0, INCOMPLETE), (None, INCOMPLETE), (2, INCOMPLETE)]
)
def test_only_a_chain_that_says_so_is_complete(complete: int | None, found: int) -> None:
    assert schain_verdict(complete, NODES, policy(complete="required")) == found


@pytest.mark.parametrize("node", [("exchange.example", ""), ("", "100")])
def test_a_node_without_system_or_seller_is_not_complete(node: tuple[str, str]) -> None:
    assert schain_verdict(1, [*NODES, node], policy(complete="required")) == INCOMPLETE
    assert schain_verdict(1, [*NODES, node], policy()) == 0


def test_a_chain_of_no_nodes_is_not_complete() -> None:
    assert schain_verdict(1, [], policy(complete="required")) == INCOMPLETE


def test_no_chain_is_not_held_to_be_complete() -> None:
    assert schain_verdict(None, None, policy(complete="required")) == 0


@pytest.mark.parametrize(
    "asi", ["reseller.example", "RESELLER.example", "exchange.example", "exchange.example."]
)
def test_a_blocked_system_anywhere_blocks(asi: str) -> None:
    assert verdict(blocked_asi=[asi]) == BLOCKED


def test_a_blocked_system_is_found_whatever_its_letters_in_the_chain() -> None:
    assert verdict([("Exchange.EXAMPLE", "1")], blocked_asi=["exchange.example"]) == BLOCKED
    assert verdict([(" exchange.example. ", "1")], blocked_asi=["exchange.example"]) == BLOCKED


@pytest.mark.parametrize("asi", ["example", "other.example", "sub.exchange.example", "change.example"])
def test_another_system_does_not_block(asi: str) -> None:
    assert verdict(blocked_asi=[asi]) == 0


@pytest.mark.parametrize(
    ("node", "found"),
    [
        ("reseller.example/Seller-7", BLOCKED),
        ("Reseller.Example/Seller-7", BLOCKED),
        ("reseller.example/seller-7", 0),
        ("reseller.example/Seller-70", 0),
        ("exchange.example/Seller-7", 0),
    ],
)
def test_a_single_seller_of_a_system_blocks(node: str, found: int) -> None:
    assert verdict(blocked_nodes=[node]) == found


def test_a_seller_may_have_slashes_in_its_id() -> None:
    assert verdict([("exchange.example", "a/b")], blocked_nodes=["exchange.example/a/b"]) == BLOCKED
    assert verdict([("exchange.example", "a")], blocked_nodes=["exchange.example/a/b"]) == 0


def test_blocked_goes_before_incomplete() -> None:
    fields = {"complete": "required", "max_nodes": 2, "blocked_asi": ["exchange.example"]}
    assert schain_verdict(0, [*NODES, ("x.example", "")], policy(**fields)) == BLOCKED


def test_a_chain_of_the_most_nodes_is_read_whole() -> None:
    nodes = [("a.example", "1")] * 31 + [("z.example", "1")]
    assert verdict(nodes, blocked_asi=["z.example"]) == BLOCKED
    assert verdict(nodes) == 0


def test_a_longer_chain_is_incomplete_and_read_no_further() -> None:
    nodes = [("a.example", "1")] * 32 + [("z.example", "1")]
    assert verdict(nodes, blocked_asi=["z.example"]) == INCOMPLETE
    assert verdict(nodes, max_nodes=33) == 0


def test_a_filter_judges_as_the_function() -> None:
    rules = policy(require=True, complete="required", blocked_asi=["reseller.example"])
    own = SchainFilter(rules)
    for nodes in (None, [], NODES, NODES[:1]):
        for complete in (None, 0, 1):
            assert own.verdict(complete, nodes) == schain_verdict(complete, nodes, rules)


@pytest.mark.parametrize(
    "fields",
    [
        {"blocked_asi": ["a b"]},
        {"blocked_asi": ["a/b"]},
        {"blocked_asi": [""]},
        {"blocked_nodes": ["exchange.example"]},
        {"blocked_nodes": ["/1"]},
        {"blocked_nodes": ["exchange.example/"]},
        {"max_nodes": 0},
        {"max_nodes": 1_001},
        {"complete": "some"},
        {"requires": True},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        policy(**fields)
