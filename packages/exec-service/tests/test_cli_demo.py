"""The demo plays its day to the end, and its closing check is one that can fail."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from exec_core import plugins as core_plugins
from exec_service.cli import main
from exec_service.demo import day
from exec_service.demo.checks import Check, Evidence, run_checks
from exec_service.demo.world import World

D = Decimal


@pytest.mark.timeout(300)
def test_the_day_ends_as_it_must_and_nothing_is_left_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exec_service", "demo", "--fast", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110, env=_environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["passed"]
    assert all(check["passed"] for check in found["checks"])
    ended = {row["signal_id"]: row for row in found["orders"]}
    assert ended.keys() == {item.signal_id for item in day.ALL}
    spy = ended["sig_1732450800_5678"]
    assert (spy["status"], spy["avg_fill_price"], spy["exits"]) == ("FILLED", 235.15, "not placed")
    assert ended[day.LOST_ORDER.signal_id]["reason_code"] == "NOT_PLACED"
    assert {letter["reason_code"] for letter in found["dead_letters"]} == {"INVALID", "CONFLICT"}
    realized = {row["symbol"]: row["realized_pnl"] for row in found["positions"] if row["status"] == "CLOSED"}
    assert realized == {"SPY": 325.0, "TSLA": -126.0, "IWM": 150.0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []


def _environment(tmp_path: Path) -> dict[str, str]:
    import os

    (tmp_path / "tmp").mkdir()
    # What the user has set for real work must not reach the demo.
    hostile = {"ACCOUNTS": "{", "ORDER_TIMEOUT_SECONDS": "soon", "MOCK_BROKER_REJECT_PROBABILITY": "1"}
    return {**os.environ, **hostile, "TMPDIR": str(tmp_path / "tmp")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_in_the_middle_it_takes_the_service_along(number: signal.Signals, tmp_path: Path) -> None:
    directory = tmp_path / "day"
    demo = subprocess.Popen(
        [sys.executable, "-m", "exec_service", "demo", "--data-dir", str(directory)],
        cwd=tmp_path, env=_environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # tests that run in the background ignore SIGINT
    )  # fmt: skip
    assert demo.stdout is not None
    for line in demo.stdout:
        if "Execution service ready" in line:
            break
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=40)
    assert demo.returncode == 1
    assert "Traceback" not in errors
    status = CliRunner(env={"EXEC_DATA_DIR": str(directory / "exec-data")}).invoke(main, ["status", "--json"])
    assert [worker["state"] for worker in json.loads(status.stdout)["workers"]] == ["died"]


def test_a_service_that_does_not_start_is_shown_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = {"acc_abc123": {"name": "A", "broker": "mock", "settings": {"nonsense": 1}}}
    monkeypatch.setattr(World, "accounts", lambda _self: accounts)
    result = CliRunner().invoke(main, ["demo", "--data-dir", str(tmp_path / "new")])
    assert result.exit_code == 1
    assert "exit code 2" in result.stderr
    assert "nonsense" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    result = CliRunner().invoke(main, ["demo", "--data-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_without_the_mock_broker_it_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_plugins, "entry_points", lambda *, group: [])
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 1
    assert "pip install 'exec-service[mock]'" in result.stderr


# ---------------------------------------------------------------------- the closing check


def good() -> Evidence:
    """One order that was filled, one that was refused by us; all of it consistent."""
    common: dict[str, Any] = {
        "account_id": "acc", "strategy_name": "S", "symbol": "SPY", "multiplier": D(1), "filled_quantity": D(0),
        "avg_fill_price": None, "commission": None, "reason_code": None, "rejected_by": None,
    }  # fmt: skip
    figures = {"status": "FILLED", "filled_quantity": D(100), "avg_fill_price": D("235.15"), "commission": D(1)}
    filled = {"_id": "C1", "signal_id": day.SPY.signal_id, **common, **figures}
    refused = {
        "_id": "C2", "signal_id": "sig_1732450800_5692", **common,
        "status": "REJECTED", "reason_code": "INVALID", "rejected_by": "service",
    }  # fmt: skip
    told = [
        {"client_order_id": "C1", "revision": 5, "reason_code": None, **{**figures, "filled_quantity": 100,
         "avg_fill_price": 235.15, "commission": 1.0}},
        {"client_order_id": "C2", "revision": 1, "status": "REJECTED", "reason_code": "INVALID", "filled_quantity": 0,
         "avg_fill_price": None, "commission": None},
    ]  # fmt: skip
    execution = {"execution_id": "E1", "quantity": D(100), "price": D("235.15")}
    at_venue = {"client_order_id": "C1", "side": "BUY", "commission": D(1), "superseded": False}
    held = {"quantity": D(100), "cash_flow": D(-23515), "commission": D(1)}
    documents: dict[str, Any] = {
        "orders": [filled, refused],
        "fills": [execution],
        "positions": [{"strategy_name": "S", "account_id": "acc", "symbol": "SPY", "exact": held}],
        "execution_confirmations": copy.deepcopy(told),
        "signal_store": [
            {"signal_id": order["signal_id"], "execution_status": order["status"]} for order in (filled, refused)
        ],
        "dead_letters": [],
    }
    return Evidence(documents, {"orders": [{"client_order_id": "C1"}], "fills": [{**execution, **at_venue}]}, told)


PLANNED = (day.SPY, day.BAD[0])


def failed(evidence: Evidence) -> list[str]:
    return [check.sentence for check in run_checks(evidence, PLANNED) if not check.passed]


def test_what_is_consistent_passes() -> None:
    assert [check for check in run_checks(good(), PLANNED) if not check.passed] == []


def test_an_order_that_is_at_the_broker_twice_is_noticed() -> None:
    evidence = good()
    evidence.book["orders"].append({"client_order_id": "C1"})
    assert "exactly once" in failed(evidence)[0]


def test_a_refused_order_that_is_at_the_broker_is_noticed() -> None:
    evidence = good()
    evidence.book["orders"].append({"client_order_id": "C2"})
    assert "exactly once" in failed(evidence)[0]


def test_an_order_that_is_lost_or_strange_is_noticed() -> None:
    lost, strange = good(), good()
    lost.book["orders"].clear()
    strange.book["orders"].append({"client_order_id": "C9"})
    assert "exactly once" in failed(lost)[0]
    assert "exactly once" in failed(strange)[0]


def test_a_fill_that_was_dropped_or_booked_wrongly_is_noticed() -> None:
    dropped, wrong = good(), good()
    dropped.documents["fills"].clear()
    wrong.documents["fills"][0]["price"] = D("235.16")
    for evidence in (dropped, wrong):
        assert failed(evidence) == ["the broker's executions = our fills = the orders' figures"]


@pytest.mark.parametrize(
    ("field", "value"), [("filled_quantity", D(99)), ("avg_fill_price", D("235.16")), ("commission", D(2))]
)
def test_an_order_with_wrong_figures_is_noticed(field: str, value: Decimal) -> None:
    evidence = good()
    evidence.orders[0][field] = value
    assert "the broker's executions = our fills = the orders' figures" in failed(evidence)


@pytest.mark.parametrize("field", ["quantity", "cash_flow", "commission"])
def test_a_position_that_does_not_follow_from_the_executions_is_noticed(field: str) -> None:
    evidence = good()
    evidence.documents["positions"][0]["exact"][field] += 1
    assert failed(evidence) == ["executions = positions: quantity, money and commission"]


def test_a_confirmation_that_is_missing_or_says_something_else_is_noticed() -> None:
    missing, other, stored = replace(good(), confirmations=[]), good(), good()
    other.confirmations[0]["filled_quantity"] = 50
    stored.documents["execution_confirmations"][0]["status"] = "PARTIALLY_FILLED"
    for evidence in (missing, other, stored):
        assert failed(evidence) == ["the confirmations, published and stored, say what the orders say"]


def test_only_the_newest_confirmation_of_an_order_counts() -> None:
    evidence = good()
    older = {**evidence.confirmations[0], "revision": 4, "status": "PARTIALLY_FILLED", "filled_quantity": 40}
    assert failed(replace(evidence, confirmations=[*evidence.confirmations, older])) == []


def test_a_signal_that_was_not_updated_is_noticed() -> None:
    evidence = good()
    evidence.documents["signal_store"].pop()
    assert failed(evidence) == ["signal_store says what the orders say"]


def test_an_order_that_ended_otherwise_than_planned_is_noticed() -> None:
    evidence = good()
    evidence.orders[1]["reason_code"] = evidence.confirmations[1]["reason_code"] = "STALE"
    evidence.documents["execution_confirmations"][1]["reason_code"] = "STALE"
    assert failed(evidence) == ["every order ended as it must"]


def test_a_check_passes_only_without_problems() -> None:
    assert Check("a", ()).passed
    assert not Check("a", ("b",)).passed
