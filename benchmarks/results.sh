#!/usr/bin/env bash
# Train every recipe of a real scene on three seeds; append the test-fold results to docs/results.
# Needs HSIMAP_DATA. Two runs at a time, one thread each.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${HSIMAP_DATA:?names the folder of the real scenes}"
export OMP_NUM_THREADS=1
models=$(mktemp -d)
trap 'rm -rf "$models"' EXIT
jobs_of() {
  for seed in 0 1 2; do
    for recipe in berlin_hymap enmap_potsdam neon_sjer indian_pines; do
      echo "pipelines/$recipe.yaml $seed share $recipe"
    done
    echo "pipelines/berlin_hymap.yaml $seed mask berlin_hymap_mask"
  done
}
train() {
  .venv/bin/hsimap train "$1" --quiet --out "$models/$4-$2" --record "docs/results/$4.jsonl" \
    --set training.seed="$2" --set scenes.0.split.context="$3"
}
export -f train
export models
jobs_of | xargs -P 2 -L 1 bash -c 'train "$@"' _
