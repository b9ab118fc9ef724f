"""The README and the documents say what is there: named tests, files, links, packages and commands exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from exec_service.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOCK_README = (ROOT / "packages" / "exec-broker-mock" / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])

PROMISES = {line.split("|")[1].strip(): line for line in README.splitlines() if re.match(r"\| P\d \|", line)}
NAMED_TESTS = [
    pytest.param(promise, name, id=f"{promise}-{name.rpartition('::')[2]}")
    for promise, line in PROMISES.items()
    for name in re.findall(r"`(\S+::\S+)`", line)
]
#: ``[text](target)``, but not within code.
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"exec-service ([a-z][a-z-]*)")


def defined(body: list[ast.stmt], names: list[str]) -> bool:
    """Whether these statements define the class or function `names[0]`, in it `names[1]`, and so on."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for found in (item for item in body if isinstance(item, kinds) and item.name == names[0]):
        return len(names) == 1 or defined(found.body, names[1:])
    return False


def suites(path: Path) -> list[ast.stmt]:
    """The statements of a module, and of the classes in a conformance module, whose names do not matter."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    if path.parent.name == "conformance":
        body += [item for found in body if isinstance(found, ast.ClassDef) for item in found.body]
    return body


def anchors(document: Path) -> set[str]:
    """The anchors that the headings of a document get."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_all_promises_are_there_and_guarded():
    assert list(PROMISES) == [f"P{number}" for number in range(1, 9)]
    unguarded = [promise for promise, line in PROMISES.items() if "::" not in line]
    assert unguarded == []


@pytest.mark.parametrize(("promise", "name"), NAMED_TESTS)
def test_the_test_that_guards_a_promise_exists(promise: str, name: str):
    path, *names = name.split("::")
    assert names[-1].startswith("test_")
    assert defined(suites(ROOT / path), names), f"{promise}: there is no {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path):
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(prose):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(path), f"{target}: there is no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_commands_exist(document: Path):
    code = re.findall(r"`[^`\n]+`|^```\n.*?^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    used = {name for part in code for name in COMMAND.findall(part)}
    assert used <= set(main.commands)


def test_every_command_is_named():
    unnamed = [name for name in main.commands if f"`{name}`" not in README and f"exec-service {name}" not in README]
    assert unnamed == []


def test_every_package_is_listed_with_its_page():
    for path in ROOT.glob("packages/*/pyproject.toml"):
        name = path.parent.name
        assert f"| [`{name}`](packages/{name}/README.md) |" in README


def test_every_decision_is_listed():
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    for path in ROOT.glob("docs/adr/0*.md"):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"- [{title}]({path.name})" in index
        for part in ("Context", "Options", "Decision", "Consequences"):
            assert f"**{part}.**" in path.read_text(encoding="utf-8"), f"{path.name} lacks {part}"


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z]+)\b", "".join(re.findall(r"`[^`]+`", README)))):
        assert f"\n{target}:" in makefile


def test_the_mocks_page_has_the_same_example():
    def example(text: str) -> list[str]:
        return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    assert len(example(README)) == 1
    assert example(MOCK_README) == example(README)


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200
