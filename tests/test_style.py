"""The house rules that no linter knows: how long a file and a function may be; names."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("agent", "policies", "store", "learner", "tests", "benchmarks")
FILE_LINES = 500
FUNCTION_LINES = 80
RUN_LINES = 150


def sources() -> Iterator[Path]:
    yield ROOT / "run.py"
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_are_short() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert lines["run.py"] <= RUN_LINES
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in sources():
        for function in functions(ast.parse(path.read_text())):
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            if length > FUNCTION_LINES:
                long[f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"] = length
    assert long == {}


def test_no_two_test_files_have_one_name() -> None:
    """Without packages in `tests`, pytest cannot tell them apart and collects neither."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
