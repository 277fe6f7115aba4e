"""The folder tree is the architecture: import-linter proves it, and that its contracts leave nothing out."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
OURS = set(CONFIG["root_packages"])

# Libraries that may be used wherever it is allowed to name a library at all.
COMMON = {"pyarrow", "anyio", "pydantic", "pydantic_core", "psutil", "typer", "rich"}
CORE = ("flight_core.domain", "flight_core.application")
CORE_LIBRARIES = {"pyarrow", "anyio"}
ARROW_VOCABULARY = {"compute", "types"}  # the rest reads, writes or sends


def test_imports_follow_the_architecture():
    command = [str(Path(sys.executable).parent / "lint-imports")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_every_library_has_a_door():
    behind_doors = {
        library
        for contract in CONFIG["contracts"]
        if contract["name"].startswith("One door for")
        for library in contract["protected_modules"]
    }
    homeless = {found for found in _imports() if found[1].split(".")[0] not in COMMON | behind_doors}
    assert not homeless, "add a 'One door for ...' contract to pyproject.toml"


def test_the_core_knows_no_library_but_the_words_of_arrow():
    in_core = {(module, name) for module, name in _imports() if module.startswith(CORE)}
    assert {name.split(".")[0] for _, name in in_core} <= CORE_LIBRARIES
    submodules = {(module, name) for module, name in in_core if name.startswith("pyarrow.")}
    wrong = {(module, name) for module, name in submodules if name.split(".")[1] not in ARROW_VOCABULARY}
    assert not wrong, "files and networks are for adapters"


def _imports() -> Iterator[tuple[str, str]]:
    """Which module of ours imports which module of a library, also where it does so late."""
    for path in (path for package in OURS for path in (ROOT / package).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_bytes())):
            for name in _named(node):
                if name.split(".")[0] not in OURS | sys.stdlib_module_names:
                    yield module, name


def _named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        submodules = [f"{node.module}.{alias.name}" for alias in node.names if alias.name.islower()]
        return submodules if node.module == "pyarrow" and submodules else [node.module]
    return []
