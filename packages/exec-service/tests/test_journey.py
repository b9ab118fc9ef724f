"""The main job: an order in, to the broker, filled, booked, confirmed, told."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from exec_broker_mock.broker import PLUGIN
from exec_core.instruments import AssetClass
from messages import order
from rig import Rig


async def test_a_market_order_is_placed_filled_booked_confirmed_and_told(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", stop_loss=230.0, take_profit=240.0))
        document = await rig.reaches("sig_1", "FILLED")
        (confirmation,) = await rig.confirmations("sig_1")
    assert [row["client_order_id"] for row in rig.at_broker("sig_1")] == [document["client_order_id"]]
    assert document["filled_quantity"] == Decimal(100)
    assert document["avg_fill_price"] == Decimal("235.15")
    assert document["commission"] == Decimal("1.00")
    assert document["exits"] == "not placed"
    assert [entry["status"] for entry in document["history"]][:2] == ["SUBMITTING", "SUBMITTED"]
    assert document["revision"] == 1 + len(document["history"])
    assert confirmation["status"] == "FILLED"
    assert confirmation["filled_quantity"] == 100
    assert confirmation["avg_fill_price"] == 235.15
    assert confirmation["order_id"] == document["order_id"]
    assert confirmation["confirmation_id"] == f"{document['client_order_id']}-{document['revision']}"
    position = await rig.position()
    assert (position["status"], position["side"], position["quantity"]) == ("OPEN", "LONG", 100)
    assert position["order_ids"] == [document["order_id"]]
    (signal,) = await rig.load("signal_store")
    assert (signal["signal_id"], signal["execution_status"]) == ("sig_1", "FILLED")
    assert signal["order_id"] == document["order_id"]
    assert rig.listener.titles() == ["✅ Order Filled"]


async def test_an_exit_realizes_the_profit_and_closes_the_position(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("entry", price=100), order("exit", side="SELL", price=107.5, signal_type="EXIT"))
        await rig.reaches("exit", "FILLED")
    position = await rig.position()
    assert (position["status"], position["quantity"]) == ("CLOSED", 0)
    assert position["realized_pnl"] == 750.0
    assert position["commission"] == 2.0
    assert position["closed_at"] is not None


async def test_a_flip_closes_one_position_and_opens_the_next(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("entry", price=100), order("flip", side="SELL", quantity=150, price=110))
        await rig.reaches("flip", "FILLED")
    closed, opened = sorted(await rig.load("positions"), key=lambda position: position["status"])
    assert (closed["status"], closed["realized_pnl"]) == ("CLOSED", 1000.0)
    assert (opened["side"], opened["quantity"], opened["avg_entry_price"]) == ("SHORT", 50, 110.0)
    assert closed["commission"] + opened["commission"] == 2.0


async def test_partial_fills_are_followed_until_the_order_is_filled(rig: Rig) -> None:
    rig.broker(PARTIAL_FILLS=4, FILL_DELAY_SECONDS=0.4)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "FILLED")
        confirmations = await rig.confirmations("sig_1")
    assert document["filled_quantity"] == 100
    assert len(await rig.load("fills")) == 4
    assert [message["filled_quantity"] for message in confirmations][-1] == 100
    assert {message["status"] for message in confirmations[:-1]} == {"PARTIALLY_FILLED"}
    revisions = [message["revision"] for message in confirmations]
    assert revisions == sorted(set(revisions))
    assert "⚠️ Partial Fill" in rig.listener.titles()


async def test_a_limit_order_waits_for_its_price(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235))
        await rig.reaches("sig_1", "SUBMITTED")
        assert await rig.load("positions") == []
        rig.set_price("SPY", "229.5")
        document = await rig.reaches("sig_1", "FILLED")
    assert document["avg_fill_price"] == Decimal("229.5")


async def test_a_rejection_by_the_broker_is_final_stored_told_and_never_tried_again(rig: Rig) -> None:
    rig.faults.script("reject", reason="Insufficient margin")
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "REJECTED")
        (confirmation,) = await rig.confirmations("sig_1")
    assert (document["reason_code"], document["reason"]) == ("BROKER_REJECTED", "Insufficient margin")
    assert confirmation["rejection_reason"] == "Insufficient margin"
    assert len(rig.at_broker("sig_1")) == 1
    (notification,) = rig.listener.heard
    assert notification.title == "❌ Order Rejected"
    assert ("Reason", "Insufficient margin") in notification.fields
    assert ("Account", "Main") in notification.fields
    (signal,) = await rig.load("signal_store")
    assert (signal["execution_status"], signal["reason"]) == ("REJECTED", "Insufficient margin")


async def test_a_late_commission_is_added_after_the_fill_and_confirmed_again(rig: Rig) -> None:
    rig.faults.script("late-commission", seconds=0.5)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")

        async def known() -> bool:
            return (await rig.order("sig_1"))["commission"] == Decimal("1.00")

        await rig.until(known, "the commission is known")
        confirmations = await rig.confirmations("sig_1")
    assert [(message["commission"], message["event"]) for message in confirmations] == [
        (None, "FILL"),
        (1.0, "COMMISSION"),
    ]
    assert (await rig.position())["commission"] == 1.0


async def test_a_correction_replaces_the_execution_in_order_and_position(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1"))
        filled = await rig.reaches("sig_1", "FILLED")
        rig.desk.correct(filled["order_id"], price=Decimal("236"))

        async def corrected() -> bool:
            return (await rig.order("sig_1"))["avg_fill_price"] == Decimal(236)

        await rig.until(corrected, "the correction is booked")
        confirmations = await rig.confirmations("sig_1")
    assert confirmations[-1]["event"] == "CORRECTION"
    position = await rig.position()
    assert (position["quantity"], position["avg_entry_price"], position["commission"]) == (100, 236.0, 1.0)
    fills = await rig.load("fills")
    assert sorted(fill["price"] for fill in fills) == [Decimal("235.15"), Decimal(236)]


async def test_repeated_and_reordered_reports_are_booked_once(rig: Rig) -> None:
    rig.broker(PARTIAL_FILLS=5)
    rig.faults.script("duplicate", count=50)
    rig.faults.script("reorder", count=50)
    async with rig.service():
        await rig.publish(*(order(f"sig_{number}", symbol=f"S{number}") for number in range(5)))
        for number in range(5):
            document = await rig.reaches(f"sig_{number}", "FILLED")
            assert document["filled_quantity"] == 100
    assert len(await rig.load("fills")) == 25


async def test_what_the_plugin_does_not_declare_is_refused_before_sending(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", quantity=1.5))
        document = await rig.reaches("sig_1", "REJECTED")
    assert document["reason_code"] == "UNSUPPORTED"
    assert "whole number" in document["reason"]
    assert rig.at_broker() == []


async def test_orders_of_one_symbol_are_sent_in_the_order_they_arrived(rig: Rig) -> None:
    rig.faults.script("delay", symbol="SPY", seconds=0.3)
    async with rig.service():
        await rig.publish(*(order(f"sig_{number:02}", quantity=1 + number) for number in range(10)))
        await rig.reaches("sig_09", "FILLED")
    assert [row["signal_id"] for row in rig.at_broker()] == [f"sig_{number:02}" for number in range(10)]


@pytest.mark.parametrize("dialect", [{"action": "SELL"}, {"action": "EXIT", "direction": "LONG"}])
async def test_the_other_dialect_is_understood(rig: Rig, dialect: dict[str, str]) -> None:
    message = {
        "order_id": "sig_1_ORD",
        "signal_id": "sig_1",
        "strategy_id": "Forex",
        "account": "Main",
        "instrument": "SPY",
        "order_type": "MARKET",
        "price": 50.0,
        "quantity": 3.0,
        "stop_loss": 0.0,
        "cerebro_decision": {"reason": "x"},
        **dialect,
    }
    async with rig.service():
        await rig.publish(message)
        document = await rig.reaches("sig_1", "FILLED")
    assert (document["side"], document["account_id"], document["strategy_name"]) == ("SELL", "acc_1", "Forex")
    assert document["source_order_id"] == "sig_1_ORD"
    assert (await rig.position())["side"] == "SHORT"


async def test_what_the_venue_sells_for_money_only_is_bought_for_quantity_times_price(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    coins = replace(PLUGIN, capabilities=replace(PLUGIN.capabilities, cash_only_buys=frozenset({AssetClass.CRYPTO})))
    monkeypatch.setattr("exec_broker_mock.broker.PLUGIN", coins)
    async with rig.service():
        await rig.publish(order("sig_1", symbol="BTC", instrument_type="CRYPTO", quantity=0.5, price=60_000))
        await rig.publish(order("sig_1", symbol="BTC", instrument_type="CRYPTO", quantity=0.5, price=60_000))
        document = await rig.reaches("sig_1", "FILLED")
        await rig.delivered()
    (at_broker,) = rig.at_broker()
    assert (at_broker["quantity"], at_broker["cash_quantity"]) == (None, 30_000)
    assert (document["quantity"], document["filled_quantity"]) == (0.5, 0.5)
    assert "Message Refused" not in " ".join(rig.listener.titles())
