#!/usr/bin/env bash
# Builds the fuzz targets with clang, libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, and runs each for SECONDS (default 10);
# without TARGET also the tests of the rewards that read completions, under the same sanitizers:
#   ./tests/fuzz/run.sh [SECONDS] [TARGET …]
# FUZZ_SEED (default 1, so that CI repeats itself; 0: another one each time) chooses the mutations.
# A finding is left in build-fuzz/findings and makes the script fail. Exit code 77 where there is no clang.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds="${1:-10}"
shift || true
targets=("$@") sanitized=()
[ ${#targets[@]} -gt 0 ] || targets=(safetensors gguf config tokenizer splitting chat_template maths rewards) sanitized=(sanitized_rewards)
compiler="$(command -v clang++ || command -v clang++-14 || true)"
[ -n "$compiler" ] || { echo "fuzz: clang++ is not installed; apt-get install clang gets it" >&2; exit 77; }

./launch/build.sh build-fuzz "${targets[@]/#/fuzz_}" "${sanitized[@]}" -DTROUPE_FUZZ=ON -DTROUPE_CUDA=OFF -DCMAKE_CXX_COMPILER="$compiler"

# pairs_of FILE.jsonl FIRST SECOND: a file for each row, the one field on the first line and the other behind it.
pairs_of() {
  mkdir -p build-fuzz/pairs
  python3 - "$@" <<'PYTHON'
import json, os, sys
for i, line in enumerate(open(sys.argv[1])):
    row, path = json.loads(line), f"build-fuzz/pairs/{os.path.basename(sys.argv[1])}-{i}"
    open(path, "w").write(f"{row[sys.argv[2]]}\n{row[sys.argv[3]]}")
    print(path)
PYTHON
}

seeds_of() {
  case "$1" in
    safetensors) find tests/parity/families -name '*.safetensors' -size -16k ;;
    gguf) find tests/parity/gguf -name '*.gguf' -size -60k ;;
    config) find tests/parity/families tests/data -name config.json ;;
    tokenizer) find tests/data -name tokenizer.json -size -60k ;;
    splitting) pairs_of tests/fuzz/splitting.jsonl first text ;;
    chat_template) find tests/data/chat -name '*.jinja' ;;
    maths) pairs_of tests/parity/math_verify_cases.jsonl gold completion ;;
    rewards) pairs_of tests/fuzz/rewards.jsonl first completion ;;
  esac
}

for program in "${sanitized[@]}"; do build-fuzz/tests/fuzz/"$program" --minimal --test-case-exclude="*millisecond*"; done
mkdir -p build-fuzz/findings
for target in "${targets[@]}"; do
  seeds="build-fuzz/seeds/$target" found="build-fuzz/corpus/$target"
  rm -rf "$seeds"
  mkdir -p "$seeds" "$found"
  number=0
  while read -r file; do cp "$file" "$seeds/$((number += 1))"; done < <(seeds_of "$target" | sort)
  echo "fuzz: $target, $seconds s from $number seeds"
  log="build-fuzz/$target.log"
  build-fuzz/tests/fuzz/fuzz_"$target" -seed="${FUZZ_SEED:-1}" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 \
    -artifact_prefix=build-fuzz/findings/"$target"- -print_final_stats=1 "$found" "$seeds" >"$log" 2>&1 || {
    tail -n 60 "$log" >&2
    echo "fuzz: $target: a finding is in build-fuzz/findings" >&2
    exit 1
  }
  grep -E 'number_of_executed_units|peak_rss_mb' "$log" | tr '\n' ' '
  echo
done
