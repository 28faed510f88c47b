#!/usr/bin/env bash
# `troupe generate` against transformers in one run, over random weights. `against_transformers.sh [cpu]`: SmolLM2-135M's shape, 64 tokens
# in, 64 out, the same dtype and threads (goals in bf16: 4 times its rate at batch 16, 2.5 times at batch 1). `… cuda`: Qwen2.5-0.5B's shape,
# beside generate with a static cache, which it compiles, and generate_batch. First both must agree on greedy continuations and
# log-probabilities. Prints one JSON line a case; `… cuda 256` and the like: of those of this batch.
#   TROUPE is the binary (build/troupe), BENCH_DIR the scratch folder, HF_VENV an environment with torch, transformers and tokenizers
#   (its bin/python; made where it lacks one of them).
set -euo pipefail
cd "$(dirname "$0")/../.."

troupe="${TROUPE:-build/troupe}"
work="${BENCH_DIR:-build/against_transformers}/${1:-cpu}"
venv="${HF_VENV:-$work/venv}"
mkdir -p "$work"
if ! "$venv/bin/python" -c 'import torch, transformers, tokenizers' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check torch==2.11.0 transformers tokenizers >&2
fi
"$venv/bin/python" tests/bench/transformers_rate.py "$troupe" "$work" "$(git describe --always --dirty 2>/dev/null || echo unknown)" "$@"
