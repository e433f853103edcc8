"""One function writes every byte that is kept: no other module opens a file for writing or renames one.

What is left out, and why, stands here. Weights are written by the libraries that own their form, below a marker.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "emobench"
WRITES = {"write_text", "rename", "touch", "symlink_to", "hardlink_to", "tofile", "to_parquet", "to_csv", "mkstemp"} | {
    *("copyfile", "copy2", "copytree", "move", "NamedTemporaryFile", "save_file", "dump")
}
ALLOWED = {
    "files.py": "it is that function",
    "records/journal.py": "takes a journal's name, which is empty then, and cuts a torn line off",
    "records/store.py": "takes a run's number, an empty file",
    "processes/leases.py": "lock files",
    "progress.py": "the terminal",
    "measurement/usage.py": "a file of the kernel",
    "processes/fresh.py": "what a process prints",
    "recipes/rank.py": "what a process prints",
    "processes/ranks.py": "what a process prints",
    "executors/remote.py": "moves what that function wrote, and syncs the folders",
    "data/kaggle.py": "a download into a temporary folder",
    "data/analyze/spill.py": "a temporary folder",
    "models/dequantize.py": "moves a whole folder that can be made again, its marker written last",
    "models/onnx_export.py": "moves a whole folder that can be made again, its marker written last",
    "recipes/shrink.py": "moves a whole folder that can be made again, its marker written last",
}


def opens_for_writing(call: ast.Call) -> bool:
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    texts = [item.value for item in given if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)


def writers(tree: ast.AST) -> list[str]:
    """Calls that write, move or make a file by themselves."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        made = call.func
        name = made.attr if isinstance(made, ast.Attribute) else made.id if isinstance(made, ast.Name) else ""
        of_os = isinstance(made, ast.Attribute) and ast.unparse(made.value) == "os"
        method = isinstance(made, ast.Attribute) and name == "write_bytes" and ast.unparse(made.value) != "files"
        creates = of_os and name == "open" and "O_CREAT" in ast.unparse(call)
        moves = of_os and name in ("replace", "link", "symlink")
        if (name in ("open", "fdopen") and opens_for_writing(call)) or name in WRITES or method or creates or moves:
            found.append(ast.unparse(call))
    return found


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_function_writes(path: Path) -> None:
    """A module that is not named above writes through ``emobench.files``; one that is named needs to be."""
    found = writers(ast.parse(path.read_text()))
    assert bool(found) == (path.relative_to(PACKAGE).as_posix() in ALLOWED), found


@pytest.mark.parametrize(
    "text",
    [
        'Path("a").write_text("x")',
        'path.write_bytes(b"x")',
        'open("a", "w")',
        'path.open(mode="ab")',
        "os.replace(a, b)",
        "table.to_parquet(path)",
        "json.dump(value, stream)",
    ],
)
def test_a_writer_is_seen(text: str) -> None:
    """Each usual way of writing past that function is found."""
    assert writers(ast.parse(text))
