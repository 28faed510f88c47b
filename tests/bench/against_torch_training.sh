#!/usr/bin/env bash
# Tokens a second of a training step on this machine's GPU, Troupe and PyTorch (eager and compiled) in turn: JSON lines.
#   tests/bench/against_torch_training.sh [python]     a Python that has torch and transformers
set -euo pipefail
cd "$(dirname "$0")/../.."
python="${1:-python3}"
bench="${TRAIN_BENCH:-build/tests/bench/train_bench}"
for setting in "0.5B 32768 8192" "1.5B 16384 8192"; do
  read -r model own theirs <<<"$setting"
  "$bench" --model "$model" --micro-tokens "$own"
  "$python" tests/bench/torch_train.py --model "$model" --micro-tokens "$theirs"
  "$python" tests/bench/torch_train.py --model "$model" --micro-tokens "$theirs" --compile
done
