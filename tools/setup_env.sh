#!/usr/bin/env bash
# Finds a Python 3.11, 3.12 or 3.13 and lets it run setup_env.py, which makes or mends .venv (see --help).
set -euo pipefail
tools=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)

usable() {  # it runs (a pyenv shim may not), has a version we serve, and can make virtual environments
  "$1" -I -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
  candidates=("$PYTHON")
else
  candidates=(python3 python3.13 python3.12 python3.11 "$tools/../.venv/bin/python")
fi
for python in "${candidates[@]}"; do
  if usable "$python"; then exec "$python" -I "$tools/setup_env.py" "$@"; fi
done

{
  echo "setup_env.sh: Python 3.11, 3.12 or 3.13 with its venv module is needed. Tried:"
  for python in "${candidates[@]}"; do
    echo "  $python: $("$python" --version 2>/dev/null || echo 'does not run')"
  done
  echo "Install one (on Debian and Ubuntu with its venv package, e.g. python3.12-venv), or name one:"
  echo "  PYTHON=/path/to/python3.12 bash tools/setup_env.sh"
} >&2
exit 1
