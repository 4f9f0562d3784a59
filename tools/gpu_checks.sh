#!/usr/bin/env bash
set -uo pipefail
usage='usage: bash tools/gpu_checks.sh [--rehearse] [OUTPUT_FOLDER]

Checks on a GPU what a CPU cannot, in under 10 minutes:

  environment  versions, GPU, whether Triton works
  tests        of CUDA: kernels, model, precisions, how often the host waits
  kernels      our forms of the parts beside their definitions
  steps        time and memory of training steps: avis_R50, avis_SwinB, avism_R50, with and without what is faster
  long video   1,440 frames of 360×640 through avis_R50: seconds a frame, peak memory
  training     a small model on the quickstart data set, and its evaluation

OUTPUT_FOLDER (output/gpu_checks) gets a log of each and the numbers as JSON; earlier ones are replaced. The
last thing printed is a table of what passed; the exit code is the number of checks that failed.

--rehearse runs the same on the CPU at tiny sizes, to see that it works before a GPU is paid for.
PYTHON names the interpreter, .venv/bin/python by default: one with the packages of requirements.txt.'

rehearse=false
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) echo "$usage"; exit ;;
    --rehearse) rehearse=true ;;
    -*) echo "unknown option $1" >&2; echo "$usage" >&2; exit 64 ;;
    *) break ;;
  esac
  shift
done
if [ $# -gt 1 ]; then echo "$usage" >&2; exit 64; fi
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
output=${1:-$root/output/gpu_checks}
mkdir -p -- "$output" || exit 64
output=$(CDPATH='' cd -- "$output" && pwd -P)
cd -- "$root" || exit 64
python=${PYTHON:-$root/.venv/bin/python}
if ! command -v "$python" > /dev/null; then
  echo "error: no $python; run tools/setup_env.sh, or set PYTHON" >&2
  exit 64
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

size=(360 640) clips=4 video_frames=1440 iterations=300
if $rehearse; then
  export CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=1 TRITON_INTERPRET=1
  size=(64 96) clips=1 video_frames=6 iterations=2
elif ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "error: torch finds no CUDA GPU here; --rehearse runs the checks on the CPU" >&2
  exit 64
fi

results=() failed=0
# check NAME SECONDS COMMAND …: runs a command with a time limit; its output goes to a log and to the console.
check() {
  local name=$1 limit=$2 start=$SECONDS code
  shift 2
  printf '\n== %s\n' "$name"
  timeout --kill-after 10 "$limit" "$@" 2>&1 | tee "$output/${name// /_}.log"
  code=${PIPESTATUS[0]}
  case $code in
    0) results+=("$name|passed|$((SECONDS - start)) s") ;;
    124 | 137) results+=("$name|took longer than $limit s|$((SECONDS - start)) s") ;;
    *) results+=("$name|failed with exit code $code|$((SECONDS - start)) s") ;;
  esac
  [ "$code" -eq 0 ] || failed=$((failed + 1))
}
