#!/usr/bin/env bash
# Train the network of every real scene, its single-task twins and its forests; what
# docs/results/<scene>.jsonl tells of already is not trained again. Needs HSIMAP_DATA. One thread.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${HSIMAP_DATA:?names the folder of the real scenes}"
export OMP_NUM_THREADS=1
hsimap=${HSIMAP:-.venv/bin/hsimap} python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
while read -r scene twins; do
  lines=docs/results/$scene.jsonl
  if ! grep -qs '"model": "spatial random forest"' "$lines"; then
    "$python" benchmarks/forest.py "pipelines/$scene.yaml" --record "$lines" </dev/null
    "$python" benchmarks/forest.py "pipelines/$scene.yaml" --windows 5 15 --record "$lines" </dev/null
  fi
  "$hsimap" compare "pipelines/$scene.yaml" "pipelines/$twins"/*single_*.yaml --seeds 3 \
    --results "$lines" --out "$work/$scene" --quiet </dev/null
done <<'SCENES'
berlin_hymap berlin
enmap_potsdam enmap
neon_sjer neon
indian_pines indian_pines
SCENES
