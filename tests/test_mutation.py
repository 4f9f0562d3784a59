"""The program that plants mistakes: each is one other expression, in its place."""

import ast
from pathlib import Path

from tests.mutation import find_mistakes

SOURCE = '''"""Not 1 < 2 here."""
name: Literal[3] = "é"; total = 2 * (a + b)  # 5
if total >= 4 and not done:
    raise ValueError(f"{total + 1} at {7}")
'''
WRONG = {
    "2 / (a + b)", "5 * (a + b)", "2 * (a - b)", "total >= 4 or not done", "total > 4 and (not done)",
    "total >= 9 and (not done)",
    "total >= 4 and +done",
}  # fmt: skip


def test_mistakes_are_made_in_expressions_but_not_in_messages_and_types(tmp_path: Path):
    file = tmp_path / "module.py"
    file.write_text(SOURCE)
    changed = [mistake.write(SOURCE) for mistake in find_mistakes(file)]
    assert len(changed) == len(WRONG)
    normal, lines = ast.unparse(ast.parse(SOURCE)), set()
    for source in changed:
        pairs = zip(normal.splitlines(), ast.unparse(ast.parse(source)).splitlines(), strict=True)
        (different,) = [new for old, new in pairs if old != new]
        lines.add(different.removeprefix("total = ").removeprefix("if ").removesuffix(":"))
    assert lines == WRONG
