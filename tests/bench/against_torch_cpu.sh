#!/usr/bin/env bash
# Tokens a second of a training step on this machine's CPU, Troupe and PyTorch in turn, SmolLM2-135M's shape, 4 sequences of 256, clipping
# and AdamW included (goals: 1.2 times PyTorch's rate in bf16, its rate in fp32): JSON lines.
#   tests/bench/against_torch_cpu.sh [python [rounds]]     a Python that has torch and transformers
# TRAIN_BENCH is the binary (build/tests/bench/cpu_train_bench).
set -euo pipefail
cd "$(dirname "$0")/../.."
python="${1:-python3}"
bench="${TRAIN_BENCH:-build/tests/bench/cpu_train_bench}"
for _ in $(seq "${2:-2}"); do
  for dtype in bf16 fp32; do
    "$bench" --dtype "$dtype" --samples 3
    "$python" tests/bench/torch_train_cpu.py --dtype "$dtype"
  done
done
