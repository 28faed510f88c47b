#!/usr/bin/env bash
# Troupe's tokenizer against Hugging Face's on one thread (goal: 10 times its rate), with equal ids: byte-level BPEs trained on the texts
# for each split pattern that models use, and a SentencePiece-like one. Prints one JSON line.
#   ./tests/bench/against_tokenizers.sh TEXT …      UTF-8 files of a megabyte or more
# TOKENIZER_BENCH is the binary (build/tests/bench/tokenizer_bench), BENCH_DIR the scratch folder, HF_VENV an environment with tokenizers.
set -euo pipefail
cd "$(dirname "$0")/../.."

bench="${TOKENIZER_BENCH:-build/tests/bench/tokenizer_bench}"
work="${BENCH_DIR:-build/against_tokenizers}"
venv="${HF_VENV:-$work/venv}"
mkdir -p "$work"
if ! "$venv/bin/python" -c 'import tokenizers' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check tokenizers >&2
fi
"$venv/bin/python" tests/bench/tokenizers_rate.py "$bench" "$work" tests/data/tinystories-656k "$@"
