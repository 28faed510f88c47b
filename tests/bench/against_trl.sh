#!/usr/bin/env bash
# Seconds a GRPO step of Troupe against TRL's on this CPU: the same model, prompts and tokens (configs/bench_trl.cfg), fp32 and
# bf16 compute, one after the other. Prints one JSON line; nothing else should run meanwhile. About 5 minutes, after TRL is installed.
#
#   ./tests/bench/against_trl.sh             both
#   ./tests/bench/against_trl.sh --trl-only  TRL and the bound alone
#
# TROUPE is the binary (build/troupe), BENCH_DIR the scratch folder (build/against_trl), TRL_VENV a virtual environment that has trl
# (else one is made in the scratch folder, with 6 GB of PyPI's torch in it), BENCH_STEPS the steps measured (5).
set -euo pipefail
cd "$(dirname "$0")/../.."

troupe="${TROUPE:-build/troupe}"
work="${BENCH_DIR:-build/against_trl}"
venv="${TRL_VENV:-$work/venv}"
steps="${BENCH_STEPS:-5}"
python="$venv/bin/python"

mkdir -p "$work"
if ! "$python" -c 'import trl' 2>/dev/null; then
  echo "against_trl: installing TRL into $venv" >&2
  python3 -m venv "$venv"
  "$python" -m pip install -q --disable-pip-version-check torch==2.11.0 trl==1.16.0 transformers==5.23.0 datasets==5.2.0 >&2
fi

[ -f "$work/model/model.safetensors" ] || "$python" tests/bench/trl_step.py prepare "$work" tests/data/tinystories-656k >&2
bound=$("$python" tests/bench/trl_step.py bound "$work" 2>"$work/bound.log")

trl_step() {
  "$python" tests/bench/trl_step.py measure "$work" "$1" "$steps" 2>"$work/trl_$1.log" || { tail -20 "$work/trl_$1.log" >&2; exit 1; }
}
trl_fp32=$(trl_step fp32)
trl_bf16=$(trl_step bf16)

# The median of metrics.jsonl's step_s, without the first step's.
troupe_step() {
  local run="$work/run_$1"
  rm -rf "$run"
  "$troupe" run configs/bench_trl.cfg --run-dir "$run" --model.dtype "$1" --run.steps $((steps + 1)) \
    --model.path "$work/model" --data.train "$work/prompts.jsonl" >"$work/troupe_$1.log" 2>&1 ||
    { tail -20 "$work/troupe_$1.log" >&2; exit 1; }
  python3 - "$run/metrics.jsonl" <<'PYTHON'
import json, statistics, sys
steps = [row for row in map(json.loads, open(sys.argv[1])) if "step_s" in row]
lengths = {row["length_mean"] for row in steps}
if lengths != {128}:
    raise SystemExit(f"completions of Troupe have {lengths} tokens, not 128: the two sides did not do the same work")
seconds = [row["step_s"] for row in steps[1:]]
print(json.dumps({"s_per_step": round(statistics.median(seconds), 3), "steps": len(seconds)}))
PYTHON
}
troupe_fp32=null troupe_bf16=null
if [ "${1:-}" != --trl-only ]; then
  troupe_fp32=$(troupe_step fp32)
  troupe_bf16=$(troupe_step bf16)
fi

revision=$(git describe --always --dirty 2>/dev/null || echo unknown)
python3 - "$bound" "$trl_fp32" "$trl_bf16" "$troupe_fp32" "$troupe_bf16" "$revision" <<'PYTHON'
import json, os, sys
bound, trl_fp32, trl_bf16, fp32, bf16 = map(json.loads, sys.argv[1:6])
model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
line = {"benchmark": "against_trl", "parameters": {"prompts": 8, "group": 8, "tokens": 128, "model": "qwen2-like, 5.5 M"},
        "trl_fp32_s": trl_fp32["s_per_step"], "trl_bf16_s": trl_bf16["s_per_step"]}
if fp32:
    line |= {"troupe_fp32_s": fp32["s_per_step"], "troupe_bf16_s": bf16["s_per_step"],
             # Both against TRL in fp32; bf16 against TRL's bf16 autocast too.
             "fp32_ratio": round(trl_fp32["s_per_step"] / fp32["s_per_step"], 2),
             "bf16_ratio": round(trl_fp32["s_per_step"] / bf16["s_per_step"], 2),
             "bf16_ratio_to_trl_bf16": round(trl_bf16["s_per_step"] / bf16["s_per_step"], 2),
             "fp32_share_of_bound": round(bound["fp32_s"] / fp32["s_per_step"], 3),
             "bf16_share_of_bound": round(bound["bf16_s"] / bf16["s_per_step"], 3)}
line |= {"bound": dict(bound, what="the step's matrix products at torch.mm's rate"), "steps": trl_fp32["steps"],
         "device": f"{model}, {len(os.sched_getaffinity(0))} cores", "revision": sys.argv[6]}
print(json.dumps(line))
PYTHON
