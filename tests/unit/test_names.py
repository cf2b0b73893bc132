"""What a public class is called says which one it is: no name stands for two of them."""

import ast
from collections import defaultdict
from pathlib import Path

import settings

ROOT = Path(settings.__file__).parent
ROOMS = (
    "benchmarks",
    "embedded",
    "jobs",
    "models",
    "selftest",
    "storage",
    "tasks",
    "webapp",
    "wiring",
)


def public_classes() -> dict[str, list[str]]:
    """The files that define a public class, by its name."""
    found: dict[str, list[str]] = defaultdict(list)
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for one in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(one, ast.ClassDef) and not one.name.startswith("_"):
                    found[one.name].append(str(file.relative_to(ROOT)))
    return found


def test_no_public_class_is_defined_twice() -> None:
    classes = public_classes()
    assert len(classes) > 400
    assert {name: files for name, files in classes.items() if len(files) > 1} == {}


def test_no_folder_is_too_full_to_be_read_at_a_glance() -> None:
    folders: dict[Path, int] = defaultdict(int)
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            folders[file.parent] += file.name != "__init__.py"
    assert {str(folder): count for folder, count in folders.items() if count > 15} == {}
