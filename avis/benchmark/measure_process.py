"""Script: run a command and print its time and memory as JSON.

A process of its own, and a small one, because what a process measures as the peak memory of its child is at
least its own.

    python measure_process.py OUTPUT.txt COMMAND [ARGUMENT …]     OUTPUT.txt gets what the command prints
"""

import json
import os
import subprocess
import sys
import time


def main() -> None:
    """Run the command of the command line."""
    with open(sys.argv[1], "wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(sys.argv[2:], stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "exit_code": os.waitstatus_to_exitcode(status),
                "seconds": seconds,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_mib": usage.ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
