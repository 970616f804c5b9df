"""The site says what is so: its commands exist, its links lead somewhere, its tables are the code's."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from edgeprune.cli import given
from edgeprune.cli.app import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]
WRITTEN = [p for p in PAGES if p.parent.name != "commands"]


@pytest.fixture(scope="module")
def group() -> Any:
    return typer.main.get_command(app)


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return benchmark("pages")


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(path: Path) -> list[str]:
    """The commands of a page, of its blocks and of its prose."""
    text = path.read_text().replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    found = re.findall(r"^ *(edgeprune .*)$", blocks, re.MULTILINE)
    return [line.split("  #")[0] for line in found] + re.findall(r"`(edgeprune [^`]+)`", text)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: p.name)
def test_commands_and_options_exist(group: Any, path: Path) -> None:
    for line in lines(path):
        words = shlex.split(line.replace("…", ""))[1:]
        if not words or words[0].startswith("-") or not words[0].islower():
            continue
        assert words[0] in group.commands, line
        known = given.options(group.commands[words[0]])
        for word in words[1:]:
            if word.startswith("--") and word != "--help-all":
                assert word[2:].partition("=")[0] in known, line


@pytest.mark.parametrize(
    "path", [p for p in PAGES if p.name != "ARCHITECTURE.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not link.startswith("http"):
            assert (path.parent / link).exists(), f"{path}: {link}"


def test_every_command_has_its_page(group: Any) -> None:
    nav = (ROOT / "mkdocs.yml").read_text()
    assert {p.stem for p in (DOCS / "commands").glob("*.md")} == set(group.commands)
    for page in DOCS.rglob("*.md"):
        assert str(page.relative_to(DOCS)) in nav, page


def test_what_is_made_of_the_code_is_not_stale(pages: ModuleType) -> None:
    """`python benchmarks/pages.py --texts` makes them again."""
    for name, made in (
        ("reference", pages.reference()), ("methods", pages.methods()), ("findings", pages.found())
    ):  # fmt: skip
        there = (DOCS / f"{name}.md").read_text()
        assert headings(there) == headings(made), name


def test_the_page_of_claims_is_made_of_the_committed_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python benchmarks/claims.py` makes it again; each claim on each network and set has one line."""
    claims = benchmark("claims")
    assert (DOCS / "claims.md").read_text() == claims.page()
    folder = tmp_path / "study"
    folder.mkdir()
    said = "A loses more parameters than B"
    head = "claim,where,answer,figure,interval,seeds,what,source,low,high,bound"
    (folder / "claims.csv").write_text(
        f"{head}\n{said},mobilenetv1 on cifar10,no,-4.25,-6.0 to -2.5,3,points,Hubens,-6,-2.5,0\n"
        f"{said},mobilenetv1 on cifar10,yes,9,8.0 to 10.0,3,points,Hubens,8,10,0\n"
    )
    (folder / "README.md").write_text(
        "# x: all jobs are done\n\n## Scale\n\n- 3 seeds\n\n## Runs\n"
    )
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    made = claims.page().splitlines()
    own = [line for line in made if line.startswith(f"| {said} | mobilenetv1 on cifar10 |")]
    assert [line.split(" | ")[3:] for line in own] == [["-1.9", "-4.2 (-6.0 to -2.5)", "3", "no |"]]
    assert "## x: all jobs are done" in made
    assert "- 3 seeds" in made


def headings(text: str) -> list[str]:
    """And the first cells of tables: what there is; its words may have been bettered since."""
    return re.findall(r"^(?:#+ .*|\| `?[\w-]+`? \|)", text, re.MULTILINE)


def test_the_exit_codes_are_the_door_s(pages: ModuleType) -> None:
    from edgeprune.cli import compare, errors

    codes = {code for code, _ in pages.EXITS}
    assert {
        errors.FAILED,
        errors.FAULT,
        errors.INTERRUPTED,
        errors.BROKEN_PIPE,
        compare.REFUSED,
    } < codes
    extras = set(pages.reference().split("## Extras")[1].split())
    assert "`train`" in extras
