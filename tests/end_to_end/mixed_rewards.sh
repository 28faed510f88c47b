# GRPO on rows that choose their reward: maths, a reward model and a judge over HTTP in one run. Killed with its judge at work it resumes to
# the same bits; its rewards are scored again to the same bits, the judge's from its cache alone.
. "$(dirname "$0")/common.sh"

expect_code 0 "$troupe" reward-model configs/tinystories_reward_cpu.cfg --run.steps 4 --checkpoint.every 4 --eval.prompts 8 \
  --learners.threads 1 --run-dir "$work/polite"
mkfifo "$work/judge.in"
python3 tests/rewarders/judge_server.py <"$work/judge.in" >"$work/judge.port" 2>"$work/judge.log" &
judge="$!"
children+=("$judge")
exec 9>"$work/judge.in"
wait_for 20 "the judge's port" test -s "$work/judge.port"

# The judge's score is that of the response's length, from 0 to 6, but for some that take it 0.3 s, so that there is time for a kill;
# what it was asked is in its cache.
printf '{%% if response | length %% 4 == 0 %%}slow{%% else %%}score {{ response | length %% 7 }}{%% endif %%} {{ question }} {{ response }}' >"$work/judge.jinja"
python3 - "$work" <<'PYTHON'
import json, sys
for name, first in (("train", 10), ("test", 60)):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as out:
        for i in range(24):
            row = {"question": f"{first + i}+{i + 1}=", "gold": str(first + 2 * i + 1), "reward": ["maths", "polite", "judged"][i % 3]}
            print(json.dumps(row), file=out)
PYTHON
mixed=(configs/smoke.cfg --data.train "$work/train.jsonl" --data.eval "$work/test.jsonl" --eval.prompts 3 --run.steps 8 --checkpoint.every 3
  --learners.count 1 --actors.count 1
  --reward.maths.kind math --reward.polite.kind model --reward.polite.path "$work/polite/checkpoints/step-4/hf" --reward.polite.weight 0.1
  --reward.judged.kind judge --reward.judged.url "http://127.0.0.1:$(cat "$work/judge.port")/v1/chat/completions"
  --reward.judged.model small --reward.judged.prompt_file "$work/judge.jinja" --reward.judged.weight 0.5
  --reward.tags.always true)

expect_code 0 "$troupe" run "${mixed[@]}" --reward.judged.cache "$work/asked.jsonl" --run-dir "$work/whole"
hash="$(audit "$work/whole")"
[ -s "$work/asked.jsonl" ] || fail "the judge was not asked"

# Every row has its own component and the one that counts always, and their sum.
python3 - "$troupe" "$work/whole" <<'PYTHON' || fail "the rewards are not those that the rows chose"
import json, subprocess, sys
metrics = [json.loads(line) for line in open(sys.argv[2] + "/metrics.jsonl")]
assert [m["step"] for m in metrics] == list(range(1, 9)), metrics
assert any(m["grad_norm"] > 0 for m in metrics), metrics
seen = set()
for group in range(12):
    lines = subprocess.run([sys.argv[1], "inspect", sys.argv[2], "--group", str(group)], capture_output=True, text=True, check=True).stdout
    own = {name for name in ("maths", "polite", "judged") if f"{name}=" in lines or f"{name}:" in lines or f"{name} " in lines}
    assert len(own) == 1, (group, own, lines)
    assert "tags" in lines and "accuracy" not in lines, lines
    seen |= own
assert seen == {"maths", "polite", "judged"}, seen
PYTHON

# Everything is killed as step 4 begins; the same command goes on, and ends in the same bits.
with_fault learner.step.begin:learner0:4:stop "$troupe" run "${mixed[@]}" --reward.judged.cache "$work/asked_again.jsonl" --run-dir "$work/killed" \
  >"$work/killed.log" 2>&1 &
children+=("$!")
wait_for 60 "three steps" test -e "$work/fault"
for pid in $(pgrep -f -- "$work/killed"); do kill -KILL "$pid" 2>/dev/null; done
none_left() { ! pgrep -f -- "$work/killed"; }
wait_for 20 "the killed processes" none_left
expect_code 0 "$troupe" run "${mixed[@]}" --reward.judged.cache "$work/asked_again.jsonl" --run-dir "$work/killed"
[ "$(audit "$work/killed")" = "$hash" ] || fail "the killed run ended in other bits"

# The judge is gone: what it said is in its cache.
exec 9>&-
wait "$judge"
for step in 1 8; do
  expect_code 0 "$troupe" replay "$work/whole" --step $step --role rewarder
  expect_text "16 completions, the same rewards" "$work/last.log"
done
expect_code 0 "$troupe" replay "$work/killed" --step 5
expect_text "the same bits as recorded" "$work/last.log"

# Without the cache a judge that does not answer has failed: no reward, and the run stops with the reason.
expect_code 1 "$troupe" run "${mixed[@]}" --reward.judged.retries 0 --reward.judged.timeout_s 1 --rewarders.max_failed 0.2 --run-dir "$work/unjudged"
expect_text "and rewarders.max_failed is 0.2: the rewarders' logs say why" "$work/last.log"
