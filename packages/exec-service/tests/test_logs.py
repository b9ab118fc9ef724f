"""The log: one record is one line, orders go to both files, no secret passes, and no sink stops another."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exec_service.logs import configure, order_log
from exec_service.redaction import Redactor

DEADLINE = 60.0
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| \[EXECUTION\] \| (.*)")

logger = logging.getLogger("exec_service.anything")


def messages(text: str) -> list[str]:
    """What the lines say; each must have the log's form."""
    found = []
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found.append(match[1])
    return found


def of(path: Path) -> list[str]:
    return messages(path.read_text(encoding="utf-8"))


def logged(tmp_path: Path, speak: Callable[[], None], **options: Any) -> tuple[list[str], list[str], list[str]]:
    """What `speak` leaves on the console, in the service's file and in the signals' file."""
    console = io.StringIO()
    with configure(tmp_path / "logs", console=console, **options):
        speak()
    log_dir = tmp_path / "logs"
    return (
        messages(console.getvalue()),
        of(log_dir / "execution_service.log"),
        of(log_dir / "signal_processing.log"),
    )


class TestLines:
    def test_an_order_line_goes_to_the_console_and_both_files(self, tmp_path: Path) -> None:
        everywhere = logged(tmp_path, lambda: order_log.info("Received order: sig_1", "sig_1"))
        assert everywhere == (["Received order: sig_1"],) * 3

    def test_any_other_line_does_not_go_to_the_file_of_signals(self, tmp_path: Path) -> None:
        assert logged(tmp_path, lambda: logger.info("Ready: %s", 1)) == (["Ready: 1"], ["Ready: 1"], [])

    def test_the_time_is_utc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        console = io.StringIO()
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 1, "text", (), None)
        record.created = 1_732_444_210.9
        try:
            with configure(tmp_path, console=console):
                logger.handle(record)
        finally:
            monkeypatch.undo()
            time.tzset()
        assert console.getvalue() == "2024-11-24 10:30:10 | [EXECUTION] | text\n"

    @pytest.mark.parametrize(
        ("text", "signal_id", "line"),
        [
            ("Placing order: BUY 100 SPY MARKET", "sig_1", "Placing order: BUY 100 SPY MARKET (sig_1)"),
            ("Received order: sig_12", "sig_1", "Received order: sig_12 (sig_1)"),
            ("Received order: my-sig_1", "sig_1", "Received order: my-sig_1 (sig_1)"),
            ("Stopped out: sig_1#SL", "sig_1", "Stopped out: sig_1#SL (sig_1)"),
            ("Order sig_1: taken", "sig_1", "Order sig_1: taken"),
            ("Order filled: 100% of it", "a.*b", "Order filled: 100% of it (a.*b)"),
        ],
    )
    def test_an_order_line_names_its_signal_once(self, tmp_path: Path, text: str, signal_id: str, line: str) -> None:
        assert logged(tmp_path, lambda: order_log.info(text, signal_id))[2] == [line]

    def test_warnings_carry_their_level_unless_they_are_about_an_order(self, tmp_path: Path) -> None:
        def speak() -> None:
            logger.warning("disk nearly full")
            logger.error("disk full")
            order_log.warning("Order rejected: no", "sig_1")
            order_log.error("Overfilled", "sig_1")

        assert logged(tmp_path, speak)[1] == [
            "WARNING: disk nearly full",
            "ERROR: disk full",
            "Order rejected: no (sig_1)",
            "Overfilled (sig_1)",
        ]

    def test_no_text_can_break_or_forge_a_line(self, tmp_path: Path) -> None:
        forged = "a\nb\r\x00\x1b[31m\x85\u2028\u202e\ud800 ₹ é\t"
        expected = "a\\nb\\r\\x00\\x1b[31m\\x85\\u2028\\u202e\\ud800 ₹ é\\t"
        everywhere = logged(tmp_path, lambda: order_log.info(forged, "sig\n1"))
        assert everywhere == ([expected + " (sig\\n1)"],) * 3

    def test_a_traceback_stands_on_the_same_line(self, tmp_path: Path) -> None:
        def speak() -> None:
            try:
                raise RuntimeError("two\nlines")
            except RuntimeError:
                logger.exception("It failed")

        (line,) = logged(tmp_path, speak)[1]
        assert line.startswith("ERROR: It failed\\nTraceback (most recent call last):\\n")
        assert line.endswith("RuntimeError: two\\nlines")

    def test_arguments_that_cannot_be_shown_do_no_harm(self, tmp_path: Path) -> None:
        class Rude:
            def __str__(self) -> str:
                raise RuntimeError("no")

        class RudeError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        error = RudeError()
        with configure(tmp_path, console=io.StringIO()) as logs:
            for text, argument, failure in (("%d apples", "many", None), ("%s", Rude(), None), ("fine", None, error)):
                info = (RudeError, failure, None) if failure else None
                arguments = (argument,) if argument else ()
                # Not through the logger: pytest's own handler would raise.
                logs.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 1, text, arguments, info))
        first, second, third = of(tmp_path / "execution_service.log")
        assert first == "%d apples (its arguments cannot be shown: TypeError)"
        assert second == "%s (its arguments cannot be shown: RuntimeError)"
        assert third.startswith("fine")

    def test_a_console_that_cannot_show_a_symbol_shows_its_code(self, tmp_path: Path) -> None:
        raw = io.BytesIO()
        with configure(tmp_path, console=io.TextIOWrapper(raw, encoding="ascii")):
            logger.info("@ ₹1")
            logger.info("next")
        assert messages(raw.getvalue().decode("ascii")) == ["@ \\u20b91", "next"]


class TestSecrets:
    def test_they_are_masked_wherever_they_stand(self, tmp_path: Path) -> None:
        secret = "s3cret/with\nbreak"

        def speak() -> None:
            order_log.info(f"Token {secret}", "sig_1")
            logger.info("of %s and %r", secret, {"key": secret})
            try:
                raise ValueError(secret)
            except ValueError:
                logger.exception("s3cret%2Fwith%0Abreak in a URL")

        everywhere = logged(tmp_path, speak, redactor=Redactor([secret]))
        assert everywhere[2] == ["Token *** (sig_1)"]
        assert everywhere[1][1] == "of *** and {'key': '***'}"
        assert everywhere[1][2].endswith("ValueError: ***")
        assert not any("s3cret" in line or "break" in line for lines in everywhere for line in lines)

    def test_one_that_is_learnt_later_is_masked_from_then_on(self, tmp_path: Path) -> None:
        console = io.StringIO()
        with configure(tmp_path, console=console) as logs:
            logs.redactor.add("plugin-token")
            logger.info("with plugin-token")
        assert messages(console.getvalue()) == ["with ***"]


class TestLevels:
    def test_strangers_are_heard_from_warning_on_and_plugins_like_us(self, tmp_path: Path) -> None:
        def speak() -> None:
            for name in ("asyncio", "pymongo.topology", "exec_core.x", "exec_service.x", "exec_broker_acme.x"):
                logging.getLogger(name).info("info of %s", name)
                logging.getLogger(name).debug("debug of %s", name)
            logging.getLogger("pymongo").warning("careful")

        lines = logged(tmp_path, speak, level="INFO", packages=("exec_broker_acme",))[1]
        assert lines == [
            "info of exec_core.x",
            "info of exec_service.x",
            "info of exec_broker_acme.x",
            "WARNING: careful",
        ]

    def test_a_higher_level_silences_us_too(self, tmp_path: Path) -> None:
        def speak() -> None:
            order_log.info("Received order: sig_1", "sig_1")
            logging.getLogger("asyncio").warning("slow")
            logger.error("bad")

        assert logged(tmp_path, speak, level="ERROR")[1] == ["ERROR: bad"]

    def test_debug_is_for_us_alone(self, tmp_path: Path) -> None:
        def speak() -> None:
            logger.debug("detail")
            logging.getLogger("asyncio").debug("detail of asyncio")

        assert logged(tmp_path, speak, level="DEBUG")[1] == ["detail"]

    def test_warnings_of_python_are_lines(self, tmp_path: Path) -> None:
        def speak() -> None:
            warnings.warn("old thing", DeprecationWarning, stacklevel=1)

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            (line,) = logged(tmp_path, speak)[1]
        assert line.startswith("WARNING: ")
        assert "DeprecationWarning: old thing" in line

    def test_closing_leaves_everything_as_it_was(self, tmp_path: Path) -> None:
        root = logging.getLogger()
        before = (root.level, list(root.handlers), logging.getLogger("exec_service").level, warnings.showwarning)
        logs = configure(tmp_path, console=io.StringIO())
        assert root.handlers != before[1]
        logs.close()
        logs.close()
        assert before == (
            root.level,
            list(root.handlers),
            logging.getLogger("exec_service").level,
            warnings.showwarning,
        )
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("log lane")]


def test_a_console_redirected_into_the_log_file_does_not_double_its_lines(tmp_path: Path) -> None:
    """``nohup exec-service run > logs/execution_service.log 2>&1 &`` is how it is started in the background."""
    code = (
        "import sys; from pathlib import Path\n"
        "from exec_service.logs import configure, order_log\n"
        "with configure(Path(sys.argv[1])):\n"
        "    order_log.info('Received order: sig_1', 'sig_1')\n"
        "print('printed', flush=True)\n"
    )
    path = tmp_path / "execution_service.log"
    with path.open("w") as stream:
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            timeout=DEADLINE,
            check=True,
        )
    first, second = path.read_text().splitlines()
    assert messages(first) == ["Received order: sig_1"]
    assert second == "printed"


def test_a_process_without_standard_output_logs_to_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with configure(tmp_path):
        logger.info("hello")
    assert of(tmp_path / "execution_service.log") == ["hello"]
