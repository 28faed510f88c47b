# A whole run of configs/smoke.cfg: what is in the run directory at the end, its audit, its report, its exported model.
. "$(dirname "$0")/common.sh"

run="$work/run"
expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$run"
expect_text "held-out, version 0: accuracy" "$work/last.log"
expect_text "held-out, greedy" "$work/last.log"
for name in config.cfg version.txt hub.json metrics.jsonl ledger.log summary.json report.html samples.jsonl \
  checkpoints/step-3/DONE checkpoints/step-6/DONE checkpoints/step-6/hf/model.safetensors checkpoints/step-6/hf/tokenizer.json; do
  [ -s "$run/$name" ] || fail "$name is missing or empty"
done
ls "$run"/events.out.tfevents.* >/dev/null || fail "no TensorBoard events"
ls "$run"/rollouts/*.log >/dev/null || fail "no rollout log"
[ "$(wc -l <"$run/metrics.jsonl")" = 6 ] || fail "metrics.jsonl does not have a line a step"
python3 - "$run/trace.json" <<'PYTHON' || fail "trace.json does not show what was done"
import json, sys
events = json.load(open(sys.argv[1]))["traceEvents"]
peers = {e["pid"]: e["args"]["name"].split(" @")[0] for e in events if e["name"] == "process_name"}
assert set(peers.values()) == {"learners", "actor 0", "actor 1", "rewarder 0"}, peers
assert [e["name"] for e in events if e["ph"] == "X" and e["name"].startswith("step")] == [f"step {i}" for i in range(1, 7)]
begun, ended = ({e["id"]: e for e in events if e["ph"] == phase} for phase in "be")
assert begun.keys() == ended.keys() and all(ended[i]["ts"] >= begun[i]["ts"] for i in begun)
for what, who in (("generate group", "actor"), ("score group", "rewarder")):
    own = [e for e in begun.values() if e["name"].startswith(what)]
    assert len(own) == 24 and all(peers[e["pid"]].startswith(who) for e in own), (what, len(own))
PYTHON

hash="$(audit "$run")"
[ ${#hash} = 32 ] || fail "the audit's final_hash is '$hash'"
expect_text "\"final_hash\": \"$hash\"" "$run/summary.json"
expect_text '"steps": 6' "$run/summary.json"
expect_text '"groups_trained": 24' "$run/summary.json"
ls /dev/shm/troupe-* 2>/dev/null | grep -q "$(grep -ao '"run_id":"[0-9a-f]*"' "$run/ledger.log" | cut -d'"' -f4)" &&
  fail "shared memory of the run is left behind"

# The same seed gives the same run; another one does not; a finished run is not started again.
expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$work/again"
[ "$(audit "$work/again")" = "$hash" ] || fail "the same seed ended in another hash"
expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$work/other" --run.seed 2 --learners.count 1 --actors.count 1
[ "$(audit "$work/other")" != "$hash" ] || fail "another seed ended in the same hash"
expect_code 2 "$troupe" run configs/smoke.cfg --run-dir "$run"
expect_text "the run is finished" "$work/last.log"
expect_code 2 "$troupe" run configs/smoke.cfg --run-dir "$run" --run.steps 8 --optimizer.lr 1e-3
expect_text "optimizer.lr: " "$work/last.log"
expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$run" --run.steps 8
expect_text '"steps": 8' "$run/summary.json"
expect_text '"attempts": 2' "$run/summary.json"

# The export generates and scores; greedy log-probabilities agree between the two commands.
model="$run/checkpoints/step-8/hf"
echo '{"prompt": "12+34="}' >"$work/prompts.jsonl"
expect_code 0 "$troupe" generate --model "$model" --prompts "$work/prompts.jsonl" --out "$work/out.jsonl" --max-tokens 8 --samples 2
[ "$(wc -l <"$work/out.jsonl")" = 2 ] || fail "generate did not write a line a sample"
echo '{"text": "12+34="}' >"$work/texts.jsonl"
expect_code 0 "$troupe" score --model "$model" --in "$work/texts.jsonl" --out "$work/scores.jsonl"
expect_text '"logprobs":[null,' "$work/scores.jsonl"
expect_code 0 "$troupe" tokenize --model "$model" --in "$work/texts.jsonl" --out "$work/ids.jsonl"
expect_text '"text":"12+34="' "$work/ids.jsonl"
echo '{"question": "1+1=", "gold": "2", "completion": "<think> x </think> <answer> 2 </answer>"}' >"$work/rows.jsonl"
expect_code 0 "$troupe" grade --config configs/smoke.cfg --in "$work/rows.jsonl" --out "$work/grades.jsonl"
expect_text '"reward":1.3' "$work/grades.jsonl"
