#!/usr/bin/env bash
# The share of a synchronous GRPO step that is not model math (goal: under 5 %): queues, scoring, ledger, packing, publishing,
# waiting for the last sequence. Model math is the learners' train_s, and the time that the engine alone takes for as many tokens of the same prompts
# with the same weights (`troupe generate`, all cores). Prints one JSON line; nothing else should run meanwhile.
#   TROUPE is the binary (build/troupe), BENCH_STEPS the steps measured (15).
set -euo pipefail
cd "$(dirname "$0")/../.."

troupe="${TROUPE:-build/troupe}"
steps="${BENCH_STEPS:-15}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# A learning rate of 0: every step has the initial weights, and so the lengths that `generate` sees.
"$troupe" run configs/quickstart.cfg --run-dir "$work/run" --run.steps $((steps + 1)) --optimizer.lr 0 --eval.every 0 --eval.prompts 16 \
  --checkpoint.every 1000 >"$work/run.log" 2>&1 || { tail -20 "$work/run.log" >&2; exit 1; }
python3 - "$work" <<'PYTHON'
import json, random, sys
random.seed(1)
with open(sys.argv[1] + "/prompts.jsonl", "w") as out:
    for _ in range(64):
        out.write(json.dumps({"prompt": f"{random.randint(100, 999)}+{random.randint(100, 999)}="}) + "\n")
PYTHON
"$troupe" generate --model "$work/run/start" --prompts "$work/prompts.jsonl" --out "$work/out.jsonl" --samples 16 --max-tokens 72 \
  --slots 256 2>"$work/generate.log"

python3 - "$work" "$(git describe --always --dirty 2>/dev/null || echo unknown)" <<'PYTHON'
import json, os, re, statistics, sys
work, revision = sys.argv[1:]
rate = float(re.search(r"(\d+) tokens/s", open(work + "/generate.log").read()).group(1))
rows = [json.loads(line) for line in open(work + "/run/metrics.jsonl")]
tokens = [b["tokens_generated"] - a["tokens_generated"] for a, b in zip(rows, rows[1:])]
shares = [1 - (row["train_s"] + n / rate) / row["step_s"] for row, n in zip(rows[1:], tokens)]
quantiles = statistics.quantiles(shares, n=10)
model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
print(json.dumps({"benchmark": "step_share", "share_outside_model_math": round(statistics.median(shares), 3),
                  "p10": round(quantiles[0], 3), "p90": round(quantiles[-1], 3), "goal": 0.05,
                  "step_s": round(statistics.median(row["step_s"] for row in rows[1:]), 3),
                  "train_s": round(statistics.median(row["train_s"] for row in rows[1:]), 3), "generate_tokens_per_s": rate,
                  "parameters": {"recipe": "quickstart", "completions": 256, "steps": len(shares)},
                  "device": f"{model}, {len(os.sched_getaffinity(0))} cores", "revision": revision}))
PYTHON
