"""The rules of the house that no linter checks, on the tree as it is."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from services.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CODE = ("services", "loadtest", "benchmarks", "models")
MAX_LINES = 400
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler", "base"}
# Split, so that this file does not contain what it looks for.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)))
REGISTRIES = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted", "arti" + "factory", "jfr" + "og")))


def _modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False)
    for name in listed.stdout.decode().split("\0"):
        data = (ROOT / name).read_bytes() if name and (ROOT / name).is_file() else b""
        if b"\0" not in data[:8000]:
            yield name, data.decode(errors="replace")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_module_is_longer_than_400_lines():
    lengths = {_name(path): len(path.read_text().splitlines()) for path in _modules(*CODE)}

    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_every_module_is_named_after_what_it_holds():
    names = {_name(path): {path.stem, *path.relative_to(ROOT).parts[:-1]} for path in _modules(*CODE)}

    assert [name for name, parts in names.items() if parts & FORBIDDEN_NAMES] == []


def test_every_module_with_code_says_what_it_is():
    trees = {_name(path): ast.parse(path.read_text()) for path in _modules(*CODE)}

    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_every_public_function_and_class_has_a_docstring():
    missing = [
        f"{_name(path)}:{node.lineno} {node.name}"
        for path in _modules("services")
        for node in _public(ast.parse(path.read_text()).body)
        if not ast.get_docstring(node)
    ]

    assert missing == []


def _public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def test_imports_keep_to_the_layers():
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("import-linter is not installed")

    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_every_setting_is_documented_with_its_default(field):
    rows = [line for line in (ROOT / "docs" / "operations.md").read_text().splitlines() if line.startswith("|")]
    row = next((row for row in rows if f"`QUARRY_{field.name.upper()}`" in row), "")
    default = field.default
    shown = ("on" if default else "off") if isinstance(default, bool) else str(default) or "(empty)"

    assert row, f"QUARRY_{field.name.upper()} is not in docs/operations.md"
    assert f"| `{shown}` |" in row


def test_no_documented_setting_is_unknown():
    known = {f"QUARRY_{field.name.upper()}" for field in fields(Settings)}
    # What the Compose file and the tests read for themselves, and no process of Quarry.
    compose = "".join((ROOT / name).read_text() for name in ("docker-compose.yml", "compose.gpu.yaml"))
    known |= {"QUARRY_URL", "QUARRY_TEST_QDRANT_URL", *re.findall(r"\$\{(QUARRY_[A-Z_]+[A-Z])", compose)}
    texts = {name: text for name, text in _texts() if name.endswith(".md") and not name.startswith("CHANGELOG")}

    unknown = {(name, found) for name, text in texts.items() for found in re.findall(r"QUARRY_[A-Z_]+[A-Z]", text)}

    assert {(name, found) for name, found in unknown if found not in known} == set()


def test_nothing_is_left_unfinished():
    assert [name for name, text in _texts() if name.endswith((".py", ".md")) and UNFINISHED.search(text)] == []


def test_no_file_names_a_package_registry_or_a_path_of_this_machine():
    home = str(Path.home())
    places = [f"{ROOT}/", *([sys.base_prefix] if sys.base_prefix.startswith(f"{home}/") else [])]

    found = [name for name, text in _texts() if REGISTRIES.search(text) or any(place in text for place in places)]

    assert found == []


def test_locks_pin_every_package_by_digest_and_record_no_address():
    locks = {path.name: path.read_text() for path in (ROOT / "requirements").glob("*.txt")}

    assert set(locks) >= {"dev.txt", "embedded.txt", "minilm.txt"}
    for name, text in locks.items():
        packages = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
        assert packages, name
        assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text), name


def test_the_development_lock_holds_the_embedded_one():
    pins = {
        name: set(re.findall(r"^[\w.-]+==\S+", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE))
        for name in ("dev", "embedded")
    }

    assert pins["embedded"] <= pins["dev"]


def test_the_readme_has_a_place_for_the_figures():
    from benchmarks.speed.report import END, START

    readme = (ROOT / "README.md").read_text()

    assert 0 < readme.find(START) < readme.find(END)


def test_every_promise_names_a_test_there_is():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "architecture.md").read_text()))
    written = {name for path in _modules("tests") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)}

    assert named
    assert named - written == set()


def test_every_decision_has_context_decision_and_consequences():
    pages = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        headings = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
        assert headings[:3] == ["Context", "Decision", "Consequences"], page.name


def test_links_between_the_documents_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    links = [(page, target) for page in pages for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())]

    broken = [
        (_name(page), target) for page, target in links if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []
