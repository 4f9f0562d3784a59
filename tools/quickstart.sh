#!/usr/bin/env bash
set -euo pipefail
usage='usage: bash tools/quickstart.sh [OUTPUT_FOLDER]

From nothing to a trained model, on a CPU: makes .venv where it is not complete (about 2 minutes, 7 GB), then
makes the data set SynthAVIS, trains a small AVIS model on it (configs/quickstart.yaml), draws its predictions
on held-out videos, and evaluates it with the sound of each video, with silence and with the sound of another
video. The last thing printed is the table of these three; it is in metrics.json too.

OUTPUT_FOLDER is output/quickstart by default. Run again, it goes on where it stopped.'

case "${1:-}" in -h | --help) echo "$usage"; exit ;; esac
if [ $# -gt 1 ]; then echo "$usage" >&2; exit 2; fi
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
output=${1:-$root/output/quickstart}
mkdir -p -- "$output"
output=$(CDPATH='' cd -- "$output" && pwd -P)
cd -- "$root"
config=configs/quickstart.yaml weights=$output/model_final.pth
export DETECTRON2_DATASETS=$root/datasets

step() {
  printf '\n== %s (after %d min %02d s)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}
run() {
  "$root/.venv/bin/python" "$@"
}

step "1/5 The environment"
bash tools/setup_env.sh
step "2/5 The data set: datasets/synthavis"
run tools/make_synthetic.py --preset quickstart --output datasets/synthavis
step "3/5 Training: $output"
run tools/train_net.py --config-file "$config" --resume OUTPUT_DIR "$output"
step "4/5 Drawing predictions for held-out videos: $output/pictures"
run tools/visualize_predictions.py --config-file "$config" --output "$output/pictures" \
  --predictions "$output/inference/synthavis_val/results.json"
step "5/5 Evaluation with the videos' own sound, with silence, with another video's sound"
run tools/check_listening.py --config-file "$config" --weights "$weights" --output "$output/metrics.json" \
  OUTPUT_DIR "$output"
