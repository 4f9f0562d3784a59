"""Plant small mistakes in the code, one at a time, and say which of them the tests notice.

    python -m tests.mutation avis/modeling/points.py --tests tests/modeling/test_reference_parts.py

It works on a copy of the checkout. A mistake that survives is a test that is missing, or code that says the
same in another way. Takes a second or two a mistake beside the tests themselves.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.USub: ast.UAdd, ast.Not: ast.UAdd,
}  # fmt: skip
TIMEOUT_SECONDS = 240


@dataclass(frozen=True)
class Mistake:
    """A piece of a file, and what is written in its place."""

    file: Path
    node: ast.expr
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.node.lineno}: {ast.unparse(self.node)}  →  {self.text}"

    def write(self, source: str) -> str:
        """The source with the mistake."""
        lines = source.encode().splitlines(keepends=True)
        start, end = (
            sum(map(len, lines[: line - 1])) + column
            for line, column in (
                (self.node.lineno, self.node.col_offset),
                (self.node.end_lineno, self.node.end_col_offset),
            )
        )
        content = b"".join(lines)
        return (content[:start] + f"({self.text})".encode() + content[end:]).decode()


def find_mistakes(file: Path) -> Iterator[Mistake]:
    """All mistakes that can be made in the expressions of a file; messages and types are left alone."""
    pending: list[ast.AST] = [ast.parse(file.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Raise | ast.JoinedStr):
            continue
        wrong = _wrong(node)
        if wrong is not None:
            yield Mistake(file, node, ast.unparse(wrong))
        types = {getattr(node, "annotation", None), getattr(node, "returns", None)}
        pending += [child for child in ast.iter_child_nodes(node) if child not in types]


def _wrong(node: ast.AST) -> ast.expr | None:
    """A wrong form of an expression; None for those that have none here."""
    wrong = copy.deepcopy(node)
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.UnaryOp) and type(node.op) in SWAPS:
        wrong.op = SWAPS[type(node.op)]()
        return wrong
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        wrong.ops[0] = SWAPS[type(node.ops[0])]()
        return wrong
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        wrong.value = not node.value if isinstance(node.value, bool) else 2 * node.value + 1
        return wrong
    return None


def is_noticed(mistake: Mistake, checkout: Path, tests: list[str]) -> bool:
    """Run the tests in a copy of the checkout with the mistake; in a process of their own, which may hang."""
    place = checkout / mistake.file.relative_to(ROOT)
    source = place.read_text()
    place.write_text(mistake.write(source))
    child = os.fork()
    if child == 0:
        _run_tests(checkout, tests)
    _, status = os.waitpid(child, 0)
    place.write_text(source)
    return os.waitstatus_to_exitcode(status) != 0


def _run_tests(checkout: Path, tests: list[str]) -> None:
    signal.alarm(TIMEOUT_SECONDS)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(checkout)
    sys.path[0] = os.environ["PYTHONPATH"] = str(checkout)
    code = pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests])
    os._exit(int(code))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="modules in which mistakes are made")
    parser.add_argument("--tests", nargs="+", required=True, help="files of tests that should notice")
    parser.add_argument("--number", type=int, default=20, help="of mistakes, drawn at random (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args()
    import detectron2.modeling  # noqa: F401  (once, here, rather than in each of the processes)

    sys.dont_write_bytecode = True  # a file of the same size and second would be taken for the one before
    mistakes = [mistake for file in args.files for mistake in find_mistakes(file.resolve())]
    chosen = random.Random(args.seed).sample(mistakes, min(args.number, len(mistakes)))
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder, "checkout")
        ignored = shutil.ignore_patterns(".*", "__pycache__", "output", "shared")
        shutil.copytree(ROOT, checkout, ignore=ignored)
        for mistake in chosen:
            verdict = "noticed " if is_noticed(mistake, checkout, args.tests) else "SURVIVED"
            print(verdict, mistake, flush=True)


if __name__ == "__main__":
    main()
