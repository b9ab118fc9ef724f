"""Cards on what arrives: all of it, as it is, once more where it was sent once more."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from exec_core.testing.notifiers.base import NotifierSuite, notifier_card
from exec_core.testing.notifiers.telling import Telling, missing, new_notification


class TextCards(NotifierSuite):
    """What arrives."""

    @notifier_card(100)
    async def test_arrives_whole(self, telling: Telling) -> None:
        """A notification arrives whole.

        Prerequisite: a notifier, entered.
        Action: send a notification with a prefix, and a field whose value has two lines; send one without fields.
        Expected: prefix, title, and each field's name and value arrive, in this order; nothing else is told.
        If this fails: check that `send` uses `Notification.text`, or all of prefix, title and fields: without the
        prefix nobody can tell paper money from real money.
        """
        full = new_notification(
            ("Signal", "sig_1732450800_5678"), ("Reason", "Insufficient margin\nAsk the desk"), prefix="[PAPER]"
        )
        bare = replace(new_notification(), fields=())
        async with telling.notifier() as notifier:
            for notification in (full, bare):
                await telling.send(notifier, notification)
                assert missing(notification, await telling.arrived(notification)) == []
        received = await telling.far.received()
        assert [text for text in received if full.title not in text and bare.title not in text] == []

    @notifier_card(110)
    @pytest.mark.parametrize(
        "value",
        [
            "Größe 日本語 Ελληνικά עברית",
            "𝄞 👨‍👩‍👧 ✅ ⚠️",
            "100% of {this} $HOME \\n %s",
            "<b>Acme</b> & Söhne </b",
            "*a_b* [c](d) `e` ~f~ #g",
        ],
        ids=["alphabets", "emoji", "placeholders", "html", "markdown"],
    )
    async def test_any_text(self, telling: Telling, value: str) -> None:
        """Any text arrives as it is: all alphabets, placeholders, and what looks like markup.

        Prerequisite: a notifier, entered.
        Action: send a notification whose title and one field hold such a text.
        Expected: it arrives to the character, as a person reads it.
        If this fails: check that the text is sent as UTF-8, and as plain text or escaped: what brokers and producers
        say must not become markup, be refused as broken markup, or be taken for a format.
        """
        notification = new_notification(("Signal", "sig_1"), ("Reason", value), title=value)
        async with telling.notifier() as notifier:
            await telling.send(notifier, notification)
            assert missing(notification, await telling.arrived(notification)) == []

    @notifier_card(120)
    async def test_long_text(self, telling: Telling) -> None:
        """A long text arrives whole, or visibly shortened.

        Prerequisite: a notifier, entered.
        Action: send a notification with a value of 120,000 characters.
        Expected: it is not refused; title and the first field arrive whole; of the long value, all arrives (in
        one text or several), or a mark says that something is missing.
        If this fails: cut the text to what the far side takes, in its own unit (bytes, UTF-16 code units), from the
        end or from the longest value, and put an ellipsis there.
        Catches: Crypto-Signal #382 and binance-trade-bot #492, where a message that was too long ended the bot.
        """
        numbers = [f"{number:05d}" for number in range(20_000)]
        notification = new_notification(("Signal", "sig_1732450800_5678"), ("Reason", " ".join(numbers)))
        head = replace(notification, fields=notification.fields[:1])
        async with telling.notifier() as notifier:
            await telling.send(notifier, notification)
            text = await telling.arrived(notification)
        assert missing(head, text) == []
        received = await telling.far.received()
        told = set(re.findall(r"\d{5}", " ".join(received)))
        # Where it came in several texts, each seam may go through a number.
        is_whole = len(set(numbers) - told) < len(received)
        is_marked = any(mark in text for text in received for mark in telling.far.marks_of_shortening)
        assert is_whole or is_marked, "the text was shortened, and nobody can see it"

    @notifier_card(130)
    async def test_repeated(self, telling: Telling) -> None:
        """The same notification may be sent again.

        Prerequisite: a notifier, entered; a notification was sent.
        Action: send it again, as the service does when it was killed before it noted the success; then another one.
        Expected: nothing is raised; the other one arrives. Whether the repeat is told is the far side's affair.
        If this fails: do not keep a list of ids that refuses repeats; a far side that answers "I have this already"
        has been told.
        """
        first, second = new_notification(), new_notification()
        async with telling.notifier() as notifier:
            await telling.send(notifier, first)
            await telling.send(notifier, first)
            await telling.send(notifier, second)
            await telling.arrived(first)
            await telling.arrived(second)
