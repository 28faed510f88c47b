# `troupe eval`: the numbers are those of the completions that it wrote, also where it was killed; greedy accuracy is the run's own; bad
# input is refused by name.
. "$(dirname "$0")/common.sh"

taught_rows
expect_code 0 "$troupe" run configs/smoke.cfg --run.steps 1 --data.train "$work/rows.jsonl" --data.eval "$work/rows.jsonl" --eval.prompts 40 \
  --cold_start.data "$work/taught.jsonl" --cold_start.steps 300 --cold_start.batch 16 --run-dir "$work/run"
model="$work/run/checkpoints/step-1/hf"
eval=("$troupe" eval --model "$model" --config configs/smoke.cfg --data "$work/rows.jsonl")

# One greedy completion of each row, as the run's own evaluation.
"${eval[@]}" --temperature 0 --top-p 1 >"$work/greedy.json" 2>"$work/last.log" || fail "greedy evaluation ended badly"
python3 - "$work/greedy.json" "$work/run/summary.json" <<'PYTHON' || fail "the accuracy is not the run's"
import json, sys
mine, run = (json.load(open(path)) for path in sys.argv[1:])
assert 0 < mine["pass@1"] < 1 and mine["rows"] == 40 and mine["samples"] == 1, mine
assert abs(mine["pass@1"] - run["accuracy_after"]) < 1e-9, (mine, run)
assert mine["majority@1"] == mine["pass@1"], mine
PYTHON

# Several: the numbers by hand from the graded completions.
several=("${eval[@]}" --samples 6 --temperature 1 --top-p 1 --slots 4)
"${several[@]}" --out "$work/whole" >"$work/whole.json" 2>"$work/last.log" || fail "evaluation ended badly"
cmp "$work/whole.json" "$work/whole/summary.json" || fail "summary.json is not what was told"
python3 - "$work/whole" <<'PYTHON' || fail "the numbers are not those of the completions"
import json, math, sys
lines = [json.loads(line) for line in open(sys.argv[1] + "/graded.jsonl")]
summary = json.load(open(sys.argv[1] + "/summary.json"))
assert len(lines) == 240 and [line["sample"] for line in lines] == list(range(6)) * 40
rows = [lines[i:i + 6] for i in range(0, 240, 6)]
right = lambda line: line["components"]["accuracy"]["value"] == 1
for k in (1, 2, 4, 6):
    passed = sum(1 - math.comb(6 - sum(map(right, row)), k) / math.comb(6, k) for row in rows) / 40
    assert abs(summary[f"pass@{k}"] - passed) < 1e-9, (k, passed, summary)
    shares = []
    for row in rows:
        wins = []
        for first in range(0, 6 - k + 1, k):
            votes = [line for line in row[first:first + k] if line["answer"] is not None]
            count = lambda line: sum(other["answer"] == line["answer"] for other in votes)
            wins.append(right(max(votes, key=count)) if votes else False)
        shares.append(sum(wins) / len(wins))
    assert abs(summary[f"majority@{k}"] - sum(shares) / 40) < 1e-9, (k, shares, summary)
assert 0 < summary["pass@1"] < summary["pass@6"]
tokens = sorted(line["tokens"] for line in lines)
assert summary["tokens_median"] == tokens[120] and summary["tokens_max"] == tokens[-1]
assert abs(summary["tokens_mean"] - sum(tokens) / 240) < 1e-9 and summary["verifier_failed"] == 0
PYTHON

{ cat configs/smoke.cfg && printf '[reward.slow]\nkind = external\ncommand = sleep 601\ntimeout_s = 600\n'; } >"$work/slow.cfg"
# Killed while it grades, with a part of its completions lost, the same command goes on to the same numbers; with other options it is refused.
"${several[@]/configs\/smoke.cfg/$work/slow.cfg}" --out "$work/killed" >"$work/last.log" 2>&1 &
children+=("$!")
all_there() { [ "$(wc -l <"$work/killed/completions.jsonl")" = 240 ]; }
wait_for 60 "completions" all_there
kill -KILL "${children[0]}"
wait "${children[0]}" 2>/dev/null
nobody_left() { ! pgrep -fx "sleep 601"; }
wait_for 10 "the program of the reward to end with its verifier" nobody_left
truncate --size=-100 "$work/killed/completions.jsonl"
expect_code 2 "${several[@]}" --out "$work/killed" --seed 2
expect_text "was begun with seed = 1, now it is 2" "$work/last.log"
"${several[@]}" --out "$work/killed" >"$work/killed.json" 2>"$work/last.log" || fail "it does not go on"
expect_text "going on after" "$work/last.log"
cmp "$work/whole.json" "$work/killed.json" || fail "another result after a kill"

expect_code 2 "$troupe" eval --model "$model" --data task:addition2/held_out --config configs/pretrain_shakespeare_cpu.cfg
expect_text "has no [reward.NAME] section" "$work/last.log"
echo '{"question": "1 + 1"}' >"$work/no_gold.jsonl"
expect_code 2 "$troupe" eval --model "$model" --data "$work/no_gold.jsonl"
expect_text "no_gold.jsonl:1" "$work/last.log"
expect_code 2 "$troupe" eval --model "$model" --data "$work/no_gold.jsonl" --reward juggling
expect_text "juggling" "$work/last.log"
