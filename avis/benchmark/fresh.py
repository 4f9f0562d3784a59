"""Calls in fresh processes: the peak memory of one row of a table is not that of another.

python -m avis.benchmark.fresh RESULT.json MODULE FUNCTION '{"argument": …}'
"""

import importlib
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from avis.command_line import exit_on_bad_input
from avis.files import read_json, write_json


def in_fresh_process(module: str, function: str, **arguments: object) -> dict:
    """Call a function in a process of its own.

    Args:
        module: the name of the function's module.
        function: its own name; it returns a dict for JSON.
        arguments: of the function, for JSON too.

    Returns:
        What the function returns; or {"failed": why} where memory has not sufficed.

    Raises:
        SystemExit: the process has failed, and has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        call = [str(result), module, function, json.dumps(arguments)]
        code = subprocess.run([sys.executable, "-m", "avis.benchmark.fresh", *call], check=False).returncode
        if code == -signal.SIGKILL:  # what Linux does where memory is exhausted
            return {"failed": "out of memory"}
        if code:
            sys.exit(code)
        return read_json(result)


@exit_on_bad_input()
def main() -> None:
    """Make the call of the command line."""
    result, module, function, arguments = sys.argv[1:]
    import torch  # here, as the process that starts others needs none

    try:
        called = getattr(importlib.import_module(module), function)
        write_json(result, called(**json.loads(arguments)))
    except torch.OutOfMemoryError:
        write_json(result, {"failed": "out of memory"})


if __name__ == "__main__":
    main()
