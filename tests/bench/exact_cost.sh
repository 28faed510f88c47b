#!/usr/bin/env bash
# What exact mode costs a whole step (goal: under 1.1x): seconds of a step with run.exact on and off, the same work, in turns. At max_lag 0
# the kernels are the same and only the assertion is more; at max_lag 1 exact mode prefills running sequences again under new weights where
# the other keeps their caches. One JSON line; nothing else should run meanwhile.
#   TROUPE is the binary (build/troupe), BENCH_STEPS the steps of each run (15), BENCH_ROUNDS how often the turns are taken (3).
set -euo pipefail
cd "$(dirname "$0")/../.."

troupe="${TROUPE:-build/troupe}"
steps="${BENCH_STEPS:-15}"
rounds="${BENCH_ROUNDS:-3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# One cold start for all.
"$troupe" run configs/quickstart.cfg --run-dir "$work/first" --run.seed 1 --run.steps 1 --eval.prompts 1 >"$work/first.log" 2>&1 ||
  { tail -20 "$work/first.log" >&2; exit 1; }
start=(--cold_start.steps 0 --model.path "$work/first/start")

# A learning rate of 0: every run and step generates with the same weights.
measure() {
  local name="$1"
  shift
  "$troupe" run configs/quickstart.cfg --run-dir "$work/run" "${start[@]}" --run.steps $((steps + 1)) --optimizer.lr 0 \
    --eval.every 0 --eval.prompts 16 --checkpoint.every 1000 "$@" >"$work/run.log" 2>&1 || { tail -20 "$work/run.log" >&2; exit 1; }
  tail -n +2 "$work/run/metrics.jsonl" >>"$work/$name.jsonl"
  rm -rf "$work/run"
}
for ((round = 0; round < rounds; ++round)); do
  measure lag_0_exact
  measure lag_0_free --run.exact false
  measure lag_1_exact --run.max_lag 1 --actors.on_new_weights recompute
  measure lag_1_free --run.max_lag 1 --actors.on_new_weights keep --run.exact false
done

python3 - "$work" "$(git describe --always --dirty 2>/dev/null || echo unknown)" <<'PYTHON'
import json, os, statistics, sys
work, revision = sys.argv[1:]
step_s = {name: statistics.median(json.loads(line)["step_s"] for line in open(f"{work}/{name}.jsonl"))
          for name in ("lag_0_exact", "lag_0_free", "lag_1_exact", "lag_1_free")}
model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
print(json.dumps({"benchmark": "exact_cost", **{f"{name}_s": round(value, 3) for name, value in step_s.items()},
                  "lag_0_ratio": round(step_s["lag_0_exact"] / step_s["lag_0_free"], 3),
                  "lag_1_ratio": round(step_s["lag_1_exact"] / step_s["lag_1_free"], 3), "goal": 1.1,
                  "parameters": {"recipe": "quickstart", "completions": 256}, "device": f"{model}, {os.cpu_count()} cores", "revision": revision}))
PYTHON
