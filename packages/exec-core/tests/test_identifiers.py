"""Identifiers are derived, stable and fit the narrowest venue."""

from __future__ import annotations

import re

from exec_core.identifiers import CLIENT_ORDER_ID_LENGTH, OrderKey, SignalId, digest
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(min_size=1), st.integers(0, 50))
def test_a_client_order_id_is_twenty_capitals_and_digits(signal_id: str, leg_index: int) -> None:
    made = OrderKey(SignalId(signal_id), leg_index).client_order_id()
    assert re.fullmatch(r"[A-Z0-9]{20}", made)
    assert made == OrderKey(SignalId(signal_id), leg_index).client_order_id()


def test_the_derivation_never_changes() -> None:
    """A literal on purpose: another release must find the orders of this one."""
    assert OrderKey(SignalId("sig_1732450800_5678")).client_order_id() == "N4O36MC5SIHASMVQ4DHA"
    assert OrderKey(SignalId("sig_1732450800_5678"), 1).client_order_id() == "V5K4D5EA4OR26QVSBZKG"


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_parts_have_different_digests(first: list[str], second: list[str]) -> None:
    assert (digest(*first) == digest(*second)) == (first == second)


def test_parts_do_not_run_into_each_other() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a1") != digest("a", "1")


def test_a_digest_is_as_long_as_asked_and_takes_any_text() -> None:
    assert len(digest("x")) == CLIENT_ORDER_ID_LENGTH
    assert digest("x", length=8) == digest("x")[:8]
    assert digest("\ud800")


def test_the_leg_makes_it_another_order() -> None:
    keys = [OrderKey(SignalId("s"), leg) for leg in range(20)]
    assert len({key.client_order_id() for key in keys}) == 20
    assert OrderKey(SignalId("s1"), 1).client_order_id() != OrderKey(SignalId("s"), 11).client_order_id()


def test_a_shorter_digest_is_the_beginning_of_a_longer_one() -> None:
    longest = digest("x", "y", length=52)
    assert [digest("x", "y", length=length) for length in range(1, 53)] == [longest[:n] for n in range(1, 53)]
    assert longest == "EMP7TLSCCBTL2NJICDSOGBBPGR25NJOFXODVHEDQU2X33ERS66CQ"
