#!/usr/bin/env bash
set -euo pipefail
usage='usage: bash tools/run_tests.sh [pytest arguments]

Makes .venv where it is not complete (tools/setup_env.sh), then checks style with ruff and runs all tests.
With arguments: runs pytest with them and nothing else, from the root of the project, for example
  bash tools/run_tests.sh tests/evaluation -k hota -x'

case "${1:-}" in -h | --help) echo "$usage"; exit ;; esac
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
bash tools/setup_env.sh
bin=$PWD/.venv/bin
export OMP_NUM_THREADS=1  # several processes share the cores: one thread each, also in those that tests start

if [ $# -gt 0 ]; then exec "$bin/python" -m pytest "$@"; fi
"$bin/ruff" check
"$bin/ruff" format --check
exec "$bin/python" -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
