"""Running tools/benchmark.py as a process, and what it gives."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import preloaded

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """A run of the tool.

    Attributes:
        printed: on stdout.
        errors: on stderr.
        numbers: of --output; none if it has failed.
        cells: of the rows of all tables that are printed.
    """

    printed: str
    errors: str
    numbers: dict

    @property
    def rows(self) -> dict[str, list[dict]]:
        """The rows of the numbers, by command."""
        return self.numbers["rows"]

    @property
    def cells(self) -> list[list[str]]:
        """Those below the heads of the tables."""
        lines = [line for line in self.printed.splitlines() if line.startswith("|")]
        tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        heads = [index - 1 for index, line in enumerate(lines) if line.startswith("|-")]
        return [cells for index, cells in enumerate(tables) if index not in heads and index - 1 not in heads]


def benchmark(folder: Path, *arguments: object, code: int = 0) -> Run:
    """Run a command, whose numbers go to a folder; it has to end with an exit code."""
    output = folder / "numbers.json"
    command, *options = map(str, arguments)
    done = preloaded.run(
        [sys.executable, ROOT / "tools" / "benchmark.py", command, "--output", output, *options],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
    )
    assert done.returncode == code, done.stderr
    numbers = json.loads(output.read_text()) if output.exists() else {}
    return Run(done.stdout, done.stderr, numbers)
