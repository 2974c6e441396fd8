"""The rooms of the house and the arrows between them: see docs/development.md."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "errors", "utils", "cameras", "dataset_format", "metrics", "preprocessing", "datamanagers",
    "fields", "latents", "rendering", "model", "visualization", "meshing", "viewer", "training", "runs",
    "inversion", "semantics", "evaluation", "synthetic", "cli", "configs", "dataparser_config", "class_model",
    "__init__",
)  # fmt: skip
"""From the lowest to the highest. A room imports from itself and from those before it."""


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "nerfgen_ns" else parts[0]


def sources() -> list[Path]:
    folders = ("nerfgen_ns", "fields", "datamanagers")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports from, inside its functions too."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports by a relative path"
            first, *inner = (node.module or "").split(".")
            if first == "nerfgen_ns":
                rooms |= {inner[0]} if inner else {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {name.name.split(".")[1] for name in node.names if name.name.startswith("nerfgen_ns.")}
    return rooms


def arrows() -> set[tuple[str, str]]:
    # `python -m` runs a __main__: it stands above all rooms.
    modules = [path for path in sources() if path.name != "__main__.py"]
    return {(room_of(path), room) for path in modules for room in imported_rooms(path)}


def test_every_module_is_in_a_room() -> None:
    assert {room_of(path) for path in sources()} <= set(ROOMS)


def test_no_import_points_up() -> None:
    assert not {(room, other) for room, other in arrows() if ROOMS.index(other) > ROOMS.index(room)}
