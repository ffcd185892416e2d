"""The documentation against the code: quoted errors, commands, links."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import typer

from pipelines.cli import app

ROOT = Path(__file__).parent.parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))


@cache
def printed() -> list[str]:
    """Every text in the source, the constant parts of f-strings each by themselves."""
    found: list[str] = []
    for package in ("components", "pipelines", "serving"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(" ".join(node.value.split()))
    return found


def quoted_errors() -> list[str]:
    table = (ROOT / "docs" / "troubleshooting.md").read_text().split("Things that Kubernetes")[0]
    return re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("error", quoted_errors())
def test_a_quoted_error_is_one_that_the_code_prints(error: str) -> None:
    texts = printed()
    for part in error.split("…"):
        assert not part.strip() or any(part.strip() in text for text in texts), part


def test_the_troubleshooting_table_is_there() -> None:
    assert len(quoted_errors()) > 15


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_commands_and_options_that_a_page_shows_exist(page: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    shown = re.findall(r"finegate ([a-z]+)((?: [a-z]+)?)([^\n`#]*)", page.read_text())
    for name, sub, rest in shown:
        if name not in commands:
            continue  # a sentence about finegate
        command = commands[name]
        if hasattr(command, "commands"):
            command = command.commands[sub.strip()]
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= options | {"-n"}


@pytest.mark.parametrize("page", [*DOCS, ROOT / "README.md"], ids=lambda page: page.stem)
def test_links_and_named_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (page.parent / link).exists(), link
    for path in re.findall(r"`((?:k8s|configs|pipelines|docker|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_the_first_promotion_takes_ten_commands_each_explained() -> None:
    text = (ROOT / "docs" / "install.md").read_text()
    block = text.split("```sh\n")[1].split("```")[0].strip().splitlines()
    assert len(block) <= 10
    explained = re.findall(r"^(\d+)\. ", text.split("```")[2], re.MULTILINE)
    assert [line.rsplit("#", 1)[1].strip() for line in block] == explained
