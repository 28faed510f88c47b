# A reward model learns, is killed and goes on to the same bits, on one rank and on two; what it exports grades rows.
. "$(dirname "$0")/common.sh"

small=(configs/tinystories_reward_cpu.cfg --run.steps 24 --checkpoint.every 4 --eval.every 12 --eval.prompts 64 --learners.threads 1)
expect_code 0 "$troupe" reward-model "${small[@]}" --run-dir "$work/whole" --dump "$work/dump"
expect_text '"accuracy_after"' "$work/whole/summary.json"
[ -s "$work/dump/gradients.safetensors" ] || fail "no dump"
python3 - "$work/whole" <<'PYTHON' || fail "it did not learn"
import json, sys
summary = json.load(open(sys.argv[1] + "/summary.json"))
assert summary["accuracy_after"] > max(0.6, summary["accuracy_before"]), summary
steps = [json.loads(line)["step"] for line in open(sys.argv[1] + "/metrics.jsonl")]
assert steps == list(range(25)), steps
PYTHON

# Killed as it would save step 8: the newest checkpoint is that of step 4.
expect_code 137 with_fault checkpoint.begin:learner0:2:kill "$troupe" reward-model "${small[@]}" --run-dir "$work/killed"
expect_code 0 "$troupe" reward-model "${small[@]}" --run-dir "$work/killed"
expect_text "goes on after step 4" "$work/last.log"
cmp "$work/whole/summary.json" "$work/killed/summary.json" || fail "another end after a kill"
cmp "$work/whole/checkpoints/step-24/hf/model.safetensors" "$work/killed/checkpoints/step-24/hf/model.safetensors" || fail "other weights after a kill"
expect_code 0 "$troupe" reward-model "${small[@]}" --run-dir "$work/killed"
expect_code 2 "$troupe" reward-model "${small[@]}" --run-dir "$work/killed" --optimizer.lr 0.5
expect_text "optimizer.lr: 3e-04 -> 0.5" "$work/last.log"

expect_code 0 mpirun "${mpirun_flags[@]}" -np 2 "$troupe" reward-model "${small[@]}" --run-dir "$work/two"
python3 - "$work" <<'PYTHON' || fail "two ranks train something else"
import json, sys
whole, two = ([json.loads(line) for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl")] for name in ("whole", "two"))
assert abs(whole[1]["loss"] - two[1]["loss"]) < 1e-6 and abs(whole[1]["grad_norm"] / two[1]["grad_norm"] - 1) < 1e-5, (whole[1], two[1])
PYTHON

# Shared out at stage 3 the end is the same; of ranks that hold the model together it is near.
hash_of() { sed -n 's/.*"final_hash": "\(.*\)".*/\1/p' "$work/$1/summary.json"; }
expect_code 0 mpirun "${mpirun_flags[@]}" -np 2 "$troupe" reward-model "${small[@]}" --run-dir "$work/third" --learners.zero_stage 3
[ "$(hash_of two)" = "$(hash_of third)" ] || fail "stage 3 ends in other weights"
expect_code 0 mpirun "${mpirun_flags[@]}" -np 2 "$troupe" reward-model "${small[@]}" --run-dir "$work/held" --learners.zero_stage 3 --learners.tensor_parallel 2 --dump "$work/held_dump"
python3 - "$work" <<'PYTHON' || fail "two ranks that hold the model together train something else"
import json, sys
whole, held = ([json.loads(line) for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl")] for name in ("whole", "held"))
assert abs(whole[1]["loss"] - held[1]["loss"]) < 1e-6 and abs(whole[1]["grad_norm"] / held[1]["grad_norm"] - 1) < 1e-5, (whole[1], held[1])
def ids(name):
    data = open(f"{sys.argv[1]}/{name}/batch.safetensors", "rb").read()
    header = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8:8 + header])["ids"]["data_offsets"]
    return data[8 + header + begin:8 + header + end]
assert ids("dump") == ids("held_dump"), "another batch"
PYTHON

# The politer one of 64 held-out pairs has the higher score as often as the run says, one by one and together.
model="$work/whole/checkpoints/step-24/hf"
python3 - "$work" <<'PYTHON'
import json, sys
with open(sys.argv[1] + "/rows.jsonl", "w") as out:
    for line in list(open("tests/data/polite_answers/test.jsonl"))[:64]:
        row = json.loads(line)
        for key in ("chosen", "rejected"):
            print(json.dumps({"prompt": row["prompt"], "completion": row[key]}), file=out)
PYTHON
printf '[reward.polite]\nkind = model\npath = %s\n' "$model" >"$work/grade.cfg"
expect_code 0 "$troupe" grade --config "$work/grade.cfg" --in "$work/rows.jsonl" --out "$work/scores.jsonl"
head -n 1 "$work/rows.jsonl" >"$work/first.jsonl"
expect_code 0 "$troupe" grade --reward model --reward.model.path "$model" --in "$work/first.jsonl" --out "$work/first_score.jsonl"
python3 - "$work" <<'PYTHON' || fail "grade and the run disagree"
import json, sys
scores = [json.loads(line)["reward"] for line in open(sys.argv[1] + "/scores.jsonl")]
share = sum(a > b for a, b in zip(scores[0::2], scores[1::2])) / 64
expected = json.load(open(sys.argv[1] + "/whole/summary.json"))["accuracy_after"]
assert share == expected, (share, expected)
assert json.loads(open(sys.argv[1] + "/first_score.jsonl").read())["reward"] == scores[0]
PYTHON
expect_code 2 "$troupe" generate --model "$model" --prompts "$work/rows.jsonl" --out "$work/none.jsonl"
expect_text "expected a language model, found a reward model" "$work/last.log"
