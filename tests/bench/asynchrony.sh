#!/usr/bin/env bash
# What asynchrony buys and costs on the quickstart's task, whose completions vary in length: run.max_lag 0, 1 and 4, and 4 with the
# decoupled objective (loss.tis_cap), one after the other. For each: seconds of the GRPO steps, the share of them that the learners waited,
# mean lag, and held-out accuracy after each BENCH_EVERY steps. One JSON line; nothing else should run meanwhile.
#   TROUPE is the binary (build/troupe), BENCH_STEPS the steps (120), BENCH_EVERY those between evaluations (20), BENCH_SEED the seed (1).
set -euo pipefail
cd "$(dirname "$0")/../.."

troupe="${TROUPE:-build/troupe}"
steps="${BENCH_STEPS:-120}"
every="${BENCH_EVERY:-20}"
seed="${BENCH_SEED:-1}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# One cold start for all.
"$troupe" run configs/quickstart.cfg --run-dir "$work/first" --run.seed "$seed" --run.steps 1 --eval.prompts 1 >"$work/first.log" 2>&1 ||
  { tail -20 "$work/first.log" >&2; exit 1; }
start=(--cold_start.steps 0 --model.path "$work/first/start")

measure() {
  local name="$1"
  shift
  "$troupe" run configs/quickstart.cfg --run-dir "$work/$name" "${start[@]}" --run.seed "$seed" --run.steps "$steps" \
    --eval.every "$every" --checkpoint.every "$steps" "$@" >"$work/$name.log" 2>&1 || { tail -20 "$work/$name.log" >&2; exit 1; }
}
measure lag_0
measure lag_1 --run.max_lag 1
measure lag_4 --run.max_lag 4
measure lag_4_decoupled --run.max_lag 4 --loss.tis_cap 2

python3 - "$work" "$(git describe --always --dirty 2>/dev/null || echo unknown)" "$seed" <<'PYTHON'
import json, os, statistics, sys
work, revision, seed = sys.argv[1:]
def of(name):
    rows = [json.loads(line) for line in open(f"{work}/{name}/metrics.jsonl")]
    summary = json.load(open(f"{work}/{name}/summary.json"))
    curve = [[row["step"] - 1, round(row["held_out_accuracy"], 3)] for row in rows if "held_out_accuracy" in row]
    return {"steps_s": round(sum(row["step_s"] for row in rows), 1), "step_s": round(statistics.median(row["step_s"] for row in rows), 3),
            "wait_share": round(sum(row["wait_s"] for row in rows) / sum(row["step_s"] for row in rows), 3),
            "lag_mean": round(statistics.mean(row["lag_mean"] for row in rows), 2),
            "held_out_accuracy": curve + [[rows[-1]["step"], round(summary["accuracy_after"], 3)]]}
names = ["lag_0", "lag_1", "lag_4", "lag_4_decoupled"]
model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
print(json.dumps({"benchmark": "asynchrony", "parameters": {"recipe": "quickstart", "seed": int(seed)},
                  **{name: of(name) for name in names}, "device": f"{model}, {os.cpu_count()} cores", "revision": revision}))
PYTHON
