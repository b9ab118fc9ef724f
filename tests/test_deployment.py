"""The deployment files fit the code: their commands, variables, paths, ports and time-outs are those that there are.

That the wheels build, install and start is checked by the session `packages` of nox; that systemd takes the unit, here,
where systemd is installed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from exec_broker_mock.settings import MockBrokerSettings
from exec_service.cli import main
from exec_service.health import LIVE_PATH, READY_PATH
from exec_service.notifiers.console import ConsoleSettings
from exec_service.notifiers.telegram_settings import TelegramSettings
from exec_service.settings import COMMAND_LINE_ONLY, Settings, load_settings
from packaging.requirements import Requirement
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
UNIT_FILE = ROOT / "deploy" / "exec-service.service"
UNIT = re.findall(r"^([A-Za-z]+)=(.*)$", UNIT_FILE.read_text(encoding="utf-8"), re.MULTILINE)
ENVIRONMENT = (ROOT / "deploy" / "environment").read_text(encoding="utf-8")
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
OURS = [name for name in SERVICES if "build" in SERVICES[name]]

#: Variables that are not the service's own but Google's, Python's or the shell's.
FOREIGN = {
    "EXEC_CONFIG",
    "PUBSUB_EMULATOR_HOST",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "PATH",
}


def known_variables() -> set[str]:
    """Every variable that the service and what it is deployed with read."""
    own = {name.upper() for name in set(Settings.model_fields) - COMMAND_LINE_ONLY}
    plugins: list[type[BaseSettings]] = [MockBrokerSettings, TelegramSettings, ConsoleSettings]
    prefixed = {f"{model.model_config['env_prefix']}{name}".upper() for model in plugins for name in model.model_fields}
    return own | prefixed | FOREIGN


def unit(name: str) -> list[str]:
    """The values of a directive of the systemd unit."""
    return [value for key, value in UNIT if key == name]


def assignments(text: str) -> dict[str, str]:
    """The lines of an environment file, also those that are commented out as a suggestion."""
    found = re.findall(r"^#?([A-Z][A-Z_]*)=(.*)$", text, re.MULTILINE)
    return {name: "".join(shlex.split(value)) for name, value in found}


def dockerfile_environment() -> dict[str, str]:
    """What the image sets."""
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    return dict(item.split("=", 1) for item in block.replace("\\\n", " ").split())


def seconds(text: str) -> float:
    """A duration of compose or systemd, which are all written in seconds here."""
    return float(text.removesuffix("s"))


# ---------------------------------------------------------------------- what runs


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_compose_is_one_of_ours(name: str) -> None:
    command, *options = SERVICES[name]["command"]
    taken = {option for parameter in main.commands[command].params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} <= taken


def test_the_images_command_is_ours_and_gets_its_signals() -> None:
    assert 'ENTRYPOINT ["exec-service"]' in DOCKERFILE  # not through a shell, which would keep SIGTERM to itself
    assert 'CMD ["run"]' in DOCKERFILE
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE


def test_the_units_command_is_ours() -> None:
    (line,) = unit("ExecStart")
    path, command = line.split()
    assert path == "/opt/exec-service/bin/exec-service"
    assert command in main.commands
    assert f"{path} --help" in DEPLOYMENT


def test_setup_runs_once_and_before_the_service() -> None:
    assert SERVICES["setup"]["restart"] == "no"
    wanted = SERVICES["worker"]["depends_on"]
    assert wanted["setup"] == {"condition": "service_completed_successfully"}
    for name in ("mongo", "pubsub"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
        for service in OURS:
            assert SERVICES[service]["depends_on"][name] == {"condition": "service_healthy"}


def test_the_mock_broker_is_all_that_compose_trades_with() -> None:
    assert SERVICES["worker"]["environment"]["USE_MOCK_BROKER"] == "true"


# ---------------------------------------------------------------------- variables


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(set(chain.from_iterable(SERVICES[name].get("environment", {}) for name in OURS)), id="compose"),
        pytest.param(set(dockerfile_environment()), id="Dockerfile"),
        pytest.param(set(assignments(ENVIRONMENT)), id="environment"),
        pytest.param({value.split("=", 1)[0] for value in unit("Environment")}, id="unit"),
    ],
)
def test_every_variable_is_read_by_somebody(names: set[str]) -> None:
    assert names - known_variables() == set()
    assert names


def test_the_settings_of_compose_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _loaded({**dockerfile_environment(), **SERVICES["worker"]["environment"]}, tmp_path, monkeypatch)
    assert settings.serves_any_account
    assert settings.health_port == 8080


def test_the_example_settings_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {**dict(value.split("=", 1) for value in unit("Environment")), **assignments(ENVIRONMENT)}
    variables["EXEC_CONFIG"] = str(ROOT / "deploy" / "exec.toml")
    settings = _loaded(variables, tmp_path, monkeypatch)
    assert set(settings.accounts) == {"acc_mock"}
    assert settings.mongodb_uri is not None


def _loaded(variables: dict[str, str], directory: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as they are in an environment with these variables only."""
    for name in known_variables() - {"PATH"}:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(directory)
    return load_settings(serving=True)


def test_no_secret_stands_in_a_file() -> None:
    assert "PASSWORD@" in assignments(ENVIRONMENT)["MONGODB_URI"]
    assert assignments(ENVIRONMENT)["TELEGRAM_BOT_TOKEN"] == ""
    for text in (DOCKERFILE, (ROOT / "compose.yaml").read_text(encoding="utf-8")):
        assert not re.search(r"TOKEN|SECRET|PASSWORD", text)


# ---------------------------------------------------------------------- ports, time-outs, users, paths


def test_published_ports_are_this_machines_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"mongo", "pubsub", "worker"}
    for port in chain.from_iterable(ports.values()):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)
    assert SERVICES["worker"]["environment"]["HEALTH_PORT"] in SERVICES["worker"]["ports"][0]


def test_a_stop_has_more_time_than_the_service_takes() -> None:
    service = SERVICES["worker"]
    assert seconds(service["stop_grace_period"]) >= float(service["environment"]["SHUTDOWN_TIMEOUT_SECONDS"]) + 10
    default = Settings.model_fields["shutdown_timeout_seconds"].default
    (stop,) = unit("TimeoutStopSec")
    assert seconds(stop) >= default + 10


def test_a_restart_keeps_its_name() -> None:
    service = SERVICES["worker"]
    assert service["environment"]["WORKER_ID"] == service["hostname"]
    assert service["restart"] == "unless-stopped"


def test_the_unit_restarts_what_a_restart_can_mend() -> None:
    assert unit("Restart") == ["on-failure"]
    assert unit("RestartPreventExitStatus") == ["2"]
    assert unit("KillSignal") == ["SIGTERM"]
    assert unit("Type") == ["exec"]


def test_nobody_is_root() -> None:
    last_stage = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert "USER exec-service" in last_stage
    assert last_stage.index("USER exec-service") < last_stage.index("ENTRYPOINT")
    assert unit("User") == ["exec-service"]


def test_what_is_written_lies_where_it_may_be_written() -> None:
    (writable,) = unit("ReadWritePaths")
    paths = dict(value.split("=", 1) for value in unit("Environment"))
    image = dockerfile_environment()
    (volumes,) = re.findall(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE)
    for name in ("LOG_DIR", "EXEC_DATA_DIR"):
        assert any(paths[name].startswith(path) for path in writable.split())
        assert any(image[name].startswith(path) for path in yaml.safe_load(volumes))
    mounts = [volume.split(":")[1] for volume in SERVICES["worker"]["volumes"]]
    assert mounts == yaml.safe_load(volumes)
    assert {volume.split(":")[0] for volume in SERVICES["worker"]["volumes"]} | {"mongo"} == set(COMPOSE["volumes"])


# ---------------------------------------------------------------------- the image


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (?!--from)(\S+) \S+$", DOCKERFILE, re.MULTILINE)
    assert copied == ["packages", "deploy/constraints.txt"]
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    assert ignored[1] == "*"


def test_the_image_asks_the_health_endpoint() -> None:
    (check,) = re.findall(r"^HEALTHCHECK .*\n\s+CMD (.*)$", DOCKERFILE, re.MULTILINE)
    executable, option, program = yaml.safe_load(check)
    assert (executable, option) == ("python", "-c")
    assert LIVE_PATH in program
    assert dockerfile_environment()["HEALTH_PORT"] == "8080"
    environment = {name: value for name, value in os.environ.items() if name != "HEALTH_PORT"}
    for variables, ends_well in (({}, True), ({"HEALTH_PORT": ""}, True), ({"HEALTH_PORT": "1"}, False)):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**environment, **variables}, capture_output=True, check=False
        )
        assert (done.returncode == 0) is ends_well, done.stderr


def test_the_image_has_a_fixed_version_of_every_dependency() -> None:
    lines = [line for line in _constraints().splitlines() if line and not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    assert len(pinned) == len(lines)
    for text in chain.from_iterable(_dependencies(path) for path in ROOT.glob("packages/*/pyproject.toml")):
        requirement = Requirement(text)
        # The image has one Python, and what is required under another one is not in it.
        applies = requirement.marker is None or requirement.marker.evaluate({"python_version": "3.11"})
        if applies and not requirement.name.startswith("exec-"):
            assert requirement.specifier.contains(pinned[requirement.name])


def _constraints() -> str:
    return (ROOT / "deploy" / "constraints.txt").read_text(encoding="utf-8")


def _dependencies(path: Path) -> list[str]:
    found: list[str] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
    return found


# ---------------------------------------------------------------------- systemd


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = UNIT_FILE.read_text(encoding="utf-8").replace("/opt/exec-service/bin/exec-service", "/bin/true")
    copy = tmp_path / UNIT_FILE.name
    copy.write_text(text, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------------- the page


def test_the_page_names_the_paths_of_the_endpoint() -> None:
    assert {f"GET {LIVE_PATH}", f"GET {READY_PATH}"} <= set(re.findall(r"`(GET /\w+)`", DEPLOYMENT))


def test_every_file_that_the_page_names_is_there() -> None:
    for name in set(re.findall(r"`(deploy/[\w.-]+|compose\.yaml|Dockerfile)`", DEPLOYMENT)):
        assert (ROOT / name).is_file()
    for path in ROOT.glob("deploy/*"):
        assert f"`deploy/{path.name}`" in DEPLOYMENT


def test_every_command_of_the_specification_has_one_of_ours() -> None:
    table = DEPLOYMENT.split("## What the specification calls it", 1)[1].split("\n## ", 1)[0]
    for command in (
        "python mvp_demo_start.py",
        "python services/execution_service/execution_main.py",
        "--use-mock-broker",
        "nohup python",
        "python mvp_demo_status.py",
        "send_test_signal.py --file",
        "db.execution_confirmations.find()",
        'db.positions.find({status: "OPEN"})',
        "tail -f logs/execution_service.log",
        "gcloud pubsub subscriptions describe trading-orders-sub",
    ):
        assert command in table
    for variable in ("ORDER_TIMEOUT_SECONDS", "MAX_RETRY_ATTEMPTS"):
        assert f"`{variable}`" in table


def test_every_variable_that_the_page_names_is_read_by_somebody() -> None:
    named = set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)\b", DEPLOYMENT))
    words = {name for name in named if name in known_variables()}
    assert named - words <= {"ANNOUNCED_BREAK", "LOGIN_NEEDED", "NOT_PLACED"}
    assert "HEALTH_PORT" in words
