"""The arrows of DESIGN.md never turn back."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def imports(path):
    """Names of the modules that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def reaches(path, *packages):
    return {
        name
        for name in imports(path)
        for package in packages
        if f"{name}.".startswith(f"{package}.")
    }


def files(folder):
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("path", files("model"), ids=lambda p: p.name)
def test_model_knows_nothing_of_the_tutor_or_the_page(path):
    assert reaches(path, "tutor", "gradio", "app") == set()


@pytest.mark.parametrize(
    "path", [p for p in files("tutor") if "ui" not in p.parts], ids=lambda p: p.name
)
def test_only_the_page_knows_gradio(path):
    assert reaches(path, "gradio") == set()
    # The command line starts the page; nothing else outside of tutor/ui knows it.
    if path.name != "cli.py":
        assert reaches(path, "tutor.ui") == set()


def test_the_check_itself_sees_imports_inside_functions(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from gradio.themes import x\n    import tutor.ui as u\n")
    assert reaches(path, "gradio", "tutor.ui") == {"gradio.themes", "gradio.themes.x", "tutor.ui"}
    assert reaches(path, "grad") == set()


def test_requirements_are_pyprojects_dependencies():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [re.sub(r"#.*", "", line).strip() for line in lines]
    assert sorted(filter(None, listed)) == sorted(project["dependencies"])
