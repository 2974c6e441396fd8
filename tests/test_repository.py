"""Rules that hold for every file of the repository."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SOURCE_FOLDERS = ("nerfgen_ns", "datamanagers", "fields")
SOURCES = sorted(path for folder in SOURCE_FOLDERS for path in (ROOT / folder).rglob("*.py"))
OTHERS = sorted(path for folder in ("benchmarks", "tests") for path in (ROOT / folder).rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "nerfgen_ns" else ("nerfgen_ns", *parts)
    return ".".join(part for part in parts if part != "__init__")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_stay_under_500_lines() -> None:
    long = [named(path) for path in [*SOURCES, *OTHERS] if len(path.read_text().splitlines()) > 500]
    assert not long


def is_tyro_config(node: ast.AST, path: Path) -> bool:
    if not isinstance(node, ast.ClassDef) or not any(
        "dataclass" in ast.unparse(d) for d in node.decorator_list
    ):
        return False
    has_run = any(isinstance(member, ast.FunctionDef) and member.name == "run" for member in node.body)
    return node.name.endswith("Config") or (path.parent.name == "cli" and has_run)


def test_every_option_is_followed_by_its_help() -> None:
    bare = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not is_tyro_config(node, path):
                continue
            assert isinstance(node, ast.ClassDef)
            for member, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(member, ast.AnnAssign) and "Suppress" not in ast.unparse(member.annotation):
                    documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    if not documented:
                        bare.append(f"{named(path)}: {node.name}.{ast.unparse(member.target)}")
    assert not bare


def test_packaging_lists_every_package() -> None:
    folders = {module_of(path) for path in SOURCES if path.name == "__init__.py"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders


def test_every_folder_of_modules_is_a_package() -> None:
    for path in SOURCES:
        assert (path.parent / "__init__.py").exists(), f"{named(path.parent)} has no __init__.py"


def test_every_entry_point_leads_somewhere() -> None:
    project = PROJECT["project"]
    entries = [*project["scripts"].values()]
    for group in project["entry-points"].values():
        entries += group.values()
    for entry in entries:
        module, name = entry.split(":")
        assert hasattr(importlib.import_module(module), name), entry


def test_the_tested_versions_lie_in_the_ranges_of_the_package() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if "==" in line and not line.startswith("#"))
    project = PROJECT["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        if requirement.name.lower() in pinned:
            assert pinned[requirement.name.lower()] in requirement.specifier, text


def modules_after(code: str) -> list[str]:
    """What a new interpreter has loaded after the code, where there is no mediapipe."""
    code = f"import sys; sys.modules['mediapipe'] = None; {code}; print(*sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def test_the_plugin_loads_without_mediapipe() -> None:
    """An entry point that raises would break every command of nerfstudio's."""
    assert "nerfstudio.engine.trainer" in modules_after(
        "import nerfgen_ns.configs, nerfgen_ns.preprocessing.prepare"
    )


def test_the_data_parser_loads_without_mediapipe_data_managers_and_trainer() -> None:
    """nerfstudio loads it while it is importing those itself."""
    loaded = modules_after("import nerfgen_ns.dataparser_config, nerfgen_ns.preprocessing.prepare")
    assert "nerfstudio.data.dataparsers.nerfstudio_dataparser" in loaded
    assert not [
        name
        for name in loaded
        if name.startswith(("nerfstudio.engine.trainer", "nerfstudio.data.datamanagers"))
    ]


@pytest.mark.parametrize("target", ["demo", "test", "lint"])
def test_make_has_the_target(target: str) -> None:
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()


def test_the_license_is_the_one_that_the_package_names() -> None:
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"]["text"] == "Apache-2.0"
