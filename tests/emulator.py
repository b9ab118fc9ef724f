"""Google's Pub/Sub emulator for the tests. It keeps everything in memory: killed, it forgets topics and messages."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from server import CannotBeHad, Server

PROGRAM = "cloud-pubsub-emulator"
INSIDE_SDK = Path("platform", "pubsub-emulator", "bin", PROGRAM)


class Emulator(Server):
    """An emulator; started again after `kill`, on the same port, it is empty."""

    @property
    def host(self) -> str:
        """What PUBSUB_EMULATOR_HOST is to say."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        return [str(binary()), "--host=127.0.0.1", f"--port={self.port}"]

    def answers(self) -> bool:
        return is_emulator(self.host)


def binary() -> Path:
    """The emulator on the PATH or beside gcloud. :raises CannotBeHad: there is none, or no Java to run it."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise CannotBeHad("the Pub/Sub emulator needs Java: install it, or give PUBSUB_EMULATOR_HOST")
    found = next((path for path in _candidates() if path.is_file() and os.access(path, os.X_OK)), None)
    if found is None:
        raise CannotBeHad(
            f"there is no {PROGRAM}: run `gcloud components install pubsub-emulator` (or install the package "
            "google-cloud-cli-pubsub-emulator), or give PUBSUB_EMULATOR_HOST"
        )
    return found


def _candidates() -> Iterator[Path]:
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        yield Path(on_path)
    if "CLOUDSDK_ROOT_DIR" in os.environ:
        yield Path(os.environ["CLOUDSDK_ROOT_DIR"]) / INSIDE_SDK
    gcloud = shutil.which("gcloud")
    if gcloud is not None:
        yield Path(gcloud).resolve().parent.parent / INSIDE_SDK
        # Where gcloud is a script that calls the real one, only that one knows its place.
        command = [gcloud, "info", "--format=value(installation.sdk_root)"]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        except subprocess.TimeoutExpired:
            return
        if asked.stdout.strip():
            yield Path(asked.stdout.strip()) / INSIDE_SDK


def is_emulator(host: str) -> bool:
    """Whether an emulator answers at "host:port"."""
    try:
        return ask(host, "GET", "/") == {}
    except (OSError, http.client.HTTPException):
        return False


def ask(host: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One request over the emulator's HTTP side; what is not JSON is answered with nothing."""
    name, _, port = host.rpartition(":")
    connection = http.client.HTTPConnection(name, int(port), timeout=10)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read().decode()
    finally:
        connection.close()
    if response.status >= 400:
        raise http.client.HTTPException(f"{method} {path}: {response.status} {answer[:200]}")
    return json.loads(answer) if answer.startswith("{") else {}


def delete_project(host: str, project: str) -> None:
    """Delete a project's subscriptions and topics."""
    for kind in ("subscriptions", "topics"):
        while found := ask(host, "GET", f"/v1/projects/{project}/{kind}").get(kind):
            for thing in found:
                ask(host, "DELETE", f"/v1/{thing['name']}")
