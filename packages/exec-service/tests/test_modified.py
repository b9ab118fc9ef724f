"""An order that a person modifies at the broker: followed, shown and told; what was asked for is kept."""

from __future__ import annotations

from decimal import Decimal

from exec_service.cli.listing import order_row
from exec_service.documents import order_view
from exec_service.stores import Document
from messages import order
from rig import Rig


async def test_a_lowered_order_is_followed_to_its_new_quantity_also_by_the_next_service(rig: Rig) -> None:
    rig.broker(FILL_DELAY_SECONDS=3600)
    limit = order("sig_1", order_type="LIMIT", limit_price=235.2, timeout_seconds=0)

    async def lowered() -> Document | None:
        document = await rig.order("sig_1")
        return document if document["quantity"] == 60 else None

    async with rig.service():
        await rig.publish(limit)
        name = (await rig.reaches("sig_1", "SUBMITTED"))["order_id"]
        rig.desk.modify(name, quantity=Decimal(60), limit_price=Decimal("234.5"))
        document = await rig.until(lowered, "the lowered quantity was followed")
        await rig.delivered()
    text = "quantity 100 -> 60, limit 235.2 -> 234.5"
    entry = document["history"][-1]
    assert (entry["event"], entry["source"], entry["text"]) == ("modified at the broker", "broker", text)
    assert (document["remaining_quantity"], document["limit_price"]) == (60, Decimal("235.2"))
    assert document["request"]["quantity"] == 100
    assert order_view(document)["modified"]["quantity"] == 60
    assert order_row(document)[-1] == "modified at the broker: quantity 60, limit $234.50"
    told = [notification for notification in rig.listener.heard if "Needs Attention" in notification.title]
    assert [dict(one.fields)["Reason"] for one in told] == [f"Modified at the broker, not by this service: {text}"]

    async with rig.service():  # it reads the order back, hears its terms again, and finds nothing new in them
        rig.desk.fill(name)
        await rig.reaches("sig_1", "FILLED")
        await rig.delivered()
        confirmation = (await rig.confirmations("sig_1"))[-1]
    assert (confirmation["quantity"], confirmation["filled_quantity"], confirmation["remaining_quantity"]) == (
        60,
        60,
        0,
    )
    assert (await rig.position())["quantity"] == 60
    assert len([one for one in rig.listener.heard if "Needs Attention" in one.title]) == 1
