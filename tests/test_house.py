"""The house: a module imports lower layers and its own package only, and the light doors import no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from emobench.kinds import KINDS
from tests.strict import DEPRECATIONS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "emobench"

LAYERS = {
    0: {
        *(
            "errors",
            "specs",
            "kinds",
            "outcomes",
            "extras",
            "devices",
            "files",
            "hub",
            "data_profile",
            "order_statistics",
        ),
        *("collector", "progress"),
    },
    1: {"catalogue", "estimate", "preflight"},
    2: {"data", "models"},
    3: {"training", "evaluation", "measurement", "processes"},
    4: {"calibration"},
    5: {"records", "analysis"},
    6: {"reports"},
    7: {"cases"},
    8: {"recipes"},
    9: {"session"},
    10: {"plugin", "suite", "cli", "commands", "dashboard", "executors"},
}
MAY_IMPORT = {
    0: {0},
    1: {0, 1},
    2: {0, 1},
    3: {0, 1, 2},
    4: {0, 1, 2, 3},
    5: {0},
    6: {0, 5},
    **{layer: set(range(layer)) | ({layer} if layer == 10 else set()) for layer in range(7, 11)},
}
SIBLINGS_MEET = {0, 1, 10}
"""Layers whose parts import each other; packages of the others never do."""
LIGHT = {0, 1, 5, 6, 7, 8, 9, 10}
"""Layers that do not import these at module level."""
HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "bitsandbytes", "torchao"}


def layer_of(part: str) -> int:
    return next(layer for layer, parts in LAYERS.items() if part in parts)


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    """Dotted names a tree imports; ``from emobench import x`` counts as ``emobench.x``."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "emobench":
                found += [f"emobench.{alias.name}" for alias in node.names]
            else:
                found.append(node.module)
    return found


def at_module_level(path: Path) -> list[str]:
    """What is imported when the module is: not inside functions, not for type checking only."""
    tree = ast.parse(path.read_text())

    def keeps(node: ast.stmt) -> bool:
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        return not guarded and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)

    found: list[str] = []
    for node in tree.body:
        if not keeps(node):
            continue
        if isinstance(node, ast.ClassDef):
            body = [part for part in node.body if keeps(part)]
            found += imported(ast.Module(body=body, type_ignores=[]))
        else:
            found += imported(node)
    return found


def test_imports_point_down() -> None:
    """No module imports a higher layer or a sibling package, not even inside a function."""
    wrong = set()
    for path in modules():
        part = part_of(path)
        layer = layer_of(part)
        for name in imported(ast.parse(path.read_text())):
            pieces = name.split(".")
            if pieces[0] != "emobench" or len(pieces) == 1 or pieces[1] in {part, "__version__"}:
                continue
            other = layer_of(pieces[1])
            if other not in MAY_IMPORT[layer] or (other == layer and layer not in SIBLINGS_MEET):
                wrong.add(f"{path.relative_to(PACKAGE)} -> {name}")
    assert wrong == set()


def known_modules() -> dict[str, Path]:
    """Dotted name to file of every module of the package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in modules()
    }


def knows(tree: ast.AST, known: Collection[str]) -> set[str]:
    """Modules of the package that a module names in an import, also inside functions and for types alone."""
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & set(known)


def test_no_module_knows_one_that_knows_it() -> None:
    """No circle: each module can be read after those it names, imports in functions and for types counted."""
    known = known_modules()
    packages = {name for name, path in known.items() if path.stem == "__init__"}
    order = TopologicalSorter(
        {name: knows(ast.parse(path.read_text()), known) - packages - {name} for name, path in known.items()}
    )
    order.prepare()  # raises CycleError, which names the modules


def test_the_house_keeps_its_size() -> None:
    """Few loose modules, short files and functions, no module called like a package, no two of one layer alike."""
    loose = [path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    assert len(loose) <= 14, loose
    sources = [path for path in modules() if path.stem != "__init__"]
    packages = {path.name for path in PACKAGE.rglob("*") if path.is_dir() and (path / "__init__.py").exists()}
    assert [str(path) for path in sources if path.stem in packages] == []
    names = Counter((layer_of(part_of(path)), path.stem) for path in sources)
    assert [name for name, count in names.items() if count > 1] == []
    assert [path.name for path in sources if len(path.read_text().splitlines()) > 400] == []
    long = {
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 60
    }
    assert len(long) <= 5, long


def strings(node: ast.AST) -> set[str]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def test_nobody_but_its_row_and_its_recipe_knows_a_kind() -> None:
    """No comparison with a kind's name, and no second list of them: whoever needs to know reads the row."""
    places = [path for path in modules() if path.name != "kinds.py" and part_of(path) != "recipes"]
    places += [*(ROOT / "fixtures").glob("*.py"), ROOT / "conftest.py"]
    found = []
    for path in places:
        for node in ast.walk(ast.parse(path.read_text())):
            compared = isinstance(node, ast.Compare) and "kind" in ast.unparse(node) and strings(node) & set(KINDS)
            keys = ast.Tuple(elts=node.keys) if isinstance(node, ast.Dict) and all(node.keys) else node
            listed = isinstance(keys, ast.Tuple | ast.List | ast.Set) and len(strings(keys) & set(KINDS)) > 1
            if compared or listed:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert found == []


def test_light_layers_import_nothing_heavy() -> None:
    """Words, plans, evidence, pages and doors import torch and its like inside functions only."""
    light = [path for path in modules() if layer_of(part_of(path)) in LIGHT]
    heavy = {
        str(path.relative_to(PACKAGE)): HEAVY & {name.split(".")[0] for name in at_module_level(path)} for path in light
    }
    assert {name: found for name, found in heavy.items() if found} == {}


def test_emobench_deprecates_nothing_by_a_warning() -> None:
    """Nobody's tests fail for a deprecation outside CI, since other packages say them: a warning of ours is none."""
    said = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for path in modules()
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in {"warnings.warn", "warn"}
        for node in ast.walk(call)
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert said.isdisjoint(DEPRECATIONS)


def loaded_modules(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(name for name in sys.modules if '.' not in name))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.slow
def test_collecting_benchmarks_imports_no_torch() -> None:
    """``pytest benchmarks --collect-only`` collects thousands of cases without torch, transformers or pandas."""
    found = loaded_modules(
        "import pytest; code = pytest.main(['benchmarks', '--collect-only', '-qq', '-p', 'no:cacheprovider']); "
        "assert code == 0, code"
    )
    assert found.isdisjoint({*HEAVY, "pandas", "pyarrow", "scipy", "sklearn"})


def test_help_imports_no_torch() -> None:
    """``emobench --help`` answers without torch, pytest or pandas."""
    found = loaded_modules(
        "from emobench.cli import app\ntry:\n    app(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert found.isdisjoint({*HEAVY, "pandas", "pyarrow", "scipy", "sklearn", "_pytest"})


def test_reading_results_imports_no_torch() -> None:
    """Records, the store and the tables need no torch."""
    found = loaded_modules("import emobench.records.store, emobench.records.journal, emobench.reports.tables")
    assert found.isdisjoint(HEAVY)


@pytest.mark.slow
def test_scoring_without_adapters_imports_no_peft() -> None:
    """Loading a classifier and scoring with it goes without peft, which also imports bitsandbytes and a compiler."""
    found = loaded_modules(
        "import torch\nfrom emobench.catalogue.model_rows import find_model\n"
        "from emobench.models.kernels import scoring\nfrom emobench.models.load import load_classifier\n"
        "made = load_classifier(find_model('all-minilm-l6-v2'), num_labels=2, class_names=('a', 'b')).model\n"
        "ids = torch.full((1, 8), 5)\n"
        "with scoring(made, 'cpu', rows=1, length=8):\n    made(input_ids=ids, attention_mask=torch.ones_like(ids))"
    )
    assert {"torch", "transformers"} <= found
    assert found.isdisjoint({"peft", "bitsandbytes", "datasets"})


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("test_*.py")), ids=lambda path: path.name)
def test_what_is_no_case_is_slow(path: Path) -> None:
    """``pytest benchmarks`` is the main job: a benchmark that is none of its cases runs where it is asked for."""
    tree = ast.parse(path.read_text())
    marked = any(ast.unparse(node) == "pytestmark = pytest.mark.slow" for node in tree.body)
    for test in (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")):
        is_case = "case" in {argument.arg for argument in test.args.args}
        own_mark = "pytest.mark.slow" in map(ast.unparse, test.decorator_list)
        assert is_case or marked or own_mark, test.name
