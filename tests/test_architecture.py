"""The rules of the house: who may import whom, what does without torch, how long a file may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "avis").rglob("*.py"))
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]

# From the ground up: a room may import what is below it, and its own floor as long as there is no circle.
FLOORS = (
    {"structures", "files", "config", "configs", "registry", "command_line", "command_names", "kernels"},
    {"formats", "media", "weights", "zoo"},
    {"audio", "synthetic", "visualization"},
    {"data"},
    {"modeling"},
    {"evaluation", "dataset_tools"},
    {"engine", "inference"},
    {"experiments", "export", "benchmark", "app"},
    {"commands"},
    {"__main__"},
)
WITHOUT_TORCH = (
    "structures", "files", "command_line", "command_names", "configs", "formats", "media", "synthetic",
    "visualization", "zoo",
)  # fmt: skip
MAX_LINES = 400


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path) for path in MODULES}


def room(module: str) -> str:
    """The room of avis.room.file; "" of the package itself."""
    return module.partition(".")[2].partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """The modules of avis that a file imports, also within functions, but not for types alone."""
    tree = ast.parse(path.read_text())
    for_types = [
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    ]
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "avis")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "avis":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in NAMES else node.module


def find_circle(edges: dict[str, set[str]]) -> list[str]:
    """Nodes of a graph that form a circle, if there is one."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(edges.get(node, ())):
            if circle := visit(following, [*path, node]):
                return circle
        done.add(node)
        return []

    return next((circle for start in sorted(edges) if (circle := visit(start, []))), [])


def test_a_circle_is_found():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_room_has_a_floor():
    rooms = {room(dotted(path)) for path in MODULES} - {""}
    assert rooms == set().union(*FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_nothing_imports_anything_above_it(path: Path):
    floor_of = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    own = room(dotted(path))
    above = [name for name in imports(path) if own and floor_of[room(name) or own] > floor_of[own]]
    assert above == []


def test_neither_rooms_nor_files_import_in_circles():
    of_files = {dotted(path): set(imports(path)) - {dotted(path), "avis"} for path in MODULES}
    of_rooms: dict[str, set[str]] = {}
    for name, imported in of_files.items():
        of_rooms.setdefault(room(name), set()).update(
            room(other) for other in imported if room(other) != room(name)
        )
    assert find_circle(of_rooms) == []
    assert find_circle(of_files) == []


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_rooms_without_torch_stay_so(name: str):
    modules = [dotted(path) for path in MODULES if room(dotted(path)) == name]
    code = f"import sys, {', '.join(modules)}; print(*{{'torch', 'detectron2'}} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_file_holds_two_concepts(path: Path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", PACKAGES, ids=dotted)
def test_every_name_of_a_package_is_used(path: Path):
    """That is, imported from the package by another file, or shown in the documentation."""
    package = dotted(path)
    tree = ast.parse(path.read_text())
    exported = next(
        (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ),
        [],
    )
    assert set(exported) - used_names(package) == set()


def used_names(package: str) -> set[str]:
    used: set[str] = set()
    pattern = re.compile(rf"from {re.escape(package)} import (\([^)]*\)|[^\n]+)")
    attribute = re.compile(rf"\b{re.escape(package)}\.(\w+)")
    folders = ("avis", "tools", "tests", "docs")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.*") if is_text(file)]
    for file in [*files, *ROOT.glob("*.md")]:
        if file == ROOT / package.replace(".", "/") / "__init__.py":
            continue
        text = file.read_text()
        for match in pattern.findall(text):
            used |= set(re.findall(r"\w+", match))
        used |= set(attribute.findall(text))
    return used


def is_text(file: Path) -> bool:
    return file.suffix in (".py", ".md")
