#!/usr/bin/env bash
# From a fresh clone to a model that has learned: installs what is missing, builds the program, and runs
# configs/quickstart.cfg (a short cold start, then GRPO with 2 learners, 2 actors and 1 rewarder). Options go on to
# `troupe run`:   ./launch/quickstart.sh --run.seed 7
set -euo pipefail
cd "$(dirname "$0")/.."

./launch/setup.sh
./launch/build.sh build troupe

run_dir="${TROUPE_RUN_DIR:-runs/quickstart-$(date +%Y%m%d-%H%M%S)}"
./build/troupe run configs/quickstart.cfg --run-dir "$run_dir" "$@"
