#!/usr/bin/env bash
# Troupe's maths verifier against Hugging Face's math-verify on one core (goal: 100 times its rate): rewritten and near-miss answers made
# from the gold answers of data sets, or given pairs. Prints one JSON line.
#   ./tests/bench/against_math_verify.sh [--pairs N] [--write DISAGREEMENTS] FILE.jsonl …
# MATHS_BENCH is the binary (build/tests/bench/maths_bench), BENCH_DIR the scratch folder, HF_VENV an environment with math-verify.
set -euo pipefail
here="$(dirname "$0")"
root="$here/../.."

bench="${MATHS_BENCH:-$root/build/tests/bench/maths_bench}"
work="${BENCH_DIR:-$root/build/against_math_verify}"
venv="${HF_VENV:-$work/venv}"
mkdir -p "$work"
if ! "$venv/bin/python" -c 'import math_verify' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check 'math-verify[antlr4_13_2]==0.9.0' >&2
fi
"$venv/bin/python" "$here/math_verify_rate.py" "$bench" "$work" "$@"
