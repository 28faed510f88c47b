# Runs that cannot learn say so within a few steps, with since when and why; strict ones stop with a checkpoint and exit code 1.
# A run that learns is not spoken of.
. "$(dirname "$0")/common.sh"

tiny=(configs/smoke.cfg --learners.count 1 --actors.count 1 --checkpoint.every 100)
always=(--reward.accuracy.weight 0 --reward.format.weight 0 --reward.tags.weight 0 --reward.any.kind regex --reward.any.pattern '[^]*')

# says TEXT: the last run said it, loudly and once while it went on.
says() {
  local said
  said="$(grep -F -- "$1" "$work/last.log" | grep -c "warning .* NOT LEARNING")"
  [ "$said" = 1 ] || { cat "$work/last.log" >&2; fail "'NOT LEARNING … $1' was said $said times instead of once"; }
}

expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$work/healthy" --strict
grep -q "NOT LEARNING" "$work/last.log" && { cat "$work/last.log" >&2; fail "a run that learns was said not to"; }
grep -q '"not_learning":0' "$work/healthy/metrics.jsonl" || fail "metrics.jsonl does not have the number of findings"

# No row has its own answer: every reward is 0. A strict run stops after the window, and goes on where it is not strict.
for a in 12 34 56 78; do printf '{"question": "%s+21=", "answer": "see page %s"}\n' $a $a; done >"$work/rows.jsonl"
exact=("${tiny[@]}" --reward.accuracy.kind exact --reward.format.weight 0 --reward.tags.weight 0)
dead=("${exact[@]}" --data.train "$work/rows.jsonl")
run="$work/dead"
expect_code 1 "$troupe" run "${dead[@]}" --run-dir "$run" --strict
says "since step 1: every reward is 0. Likely cause: no answer is right"
expect_text "stopping after step 5: --strict: NOT LEARNING since step 1" "$work/last.log"
[ -s "$run/checkpoints/step-5/DONE" ] || fail "the strict run left no checkpoint"
[ "$(wc -l <"$run/metrics.jsonl")" = 5 ] || fail "the strict run did not stop after its window"
expect_text "This run is not learning" "$run/report.html"
audit "$run" >/dev/null
expect_code 0 "$troupe" inspect "$run"
expect_text "stopped after step 5: --strict" "$work/last.log"
expect_text "NOT LEARNING since step 1: every reward is 0" "$work/last.log"
expect_code 0 "$troupe" run "${dead[@]}" --run-dir "$run"
expect_text "still NOT LEARNING since step 1: every reward is 0" "$work/last.log"
expect_text "NOT LEARNING at the end, since step 1" "$work/last.log"
expect_text '"steps": 6' "$run/summary.json"

# With dynamic sampling there is never a batch to say it of.
expect_code 1 "$troupe" run "${dead[@]}" --run-dir "$work/filtered" --strict --batch.dynamic_sampling true
says "thrown away by dynamic sampling without filling a batch"

# Larger steps, in which some completions earn what the form pays: then it is the answers that are never right.
expect_code 0 "$troupe" run "${tiny[@]}" --data.train "$work/rows.jsonl" --reward.accuracy.kind exact --run-dir "$work/never_right" \
  --group.size 16 --batch.prompts 8
says "since step 1: no answer is right. Likely cause: the rows' gold (gold or answer)"

# Where verifiers fail there is no reward to learn from: the run stops, strict or not, unless it may go on for ever.
broken=("${tiny[@]}" --reward.judge.kind external --reward.judge.command false)
expect_code 1 "$troupe" run "${broken[@]}" --run-dir "$work/broken"
expect_text "groups, and rewarders.max_failed is 0.5: the rewarders' logs say why" "$work/last.log"

# Certain before anything is generated.
expect_code 1 "$troupe" run "${tiny[@]}" --run-dir "$work/zero" --strict --optimizer.lr 0
says "from the start: the weights do not change. Likely cause: optimizer.lr = 0"
[ ! -s "$work/zero/metrics.jsonl" ] || fail "the run with a learning rate of 0 was trained"

expect_code 0 "$troupe" run "${tiny[@]}" --run-dir "$work/small" --optimizer.lr 1e-12 --model.dtype bf16
says "since step 1: the weights do not change. Likely cause: the updates are too small for model.dtype = bf16"

# Said before the first step where evaluation and first batch show it.
expect_code 0 "$troupe" run "${tiny[@]}" --run-dir "$work/short" --sampling.max_tokens 6 --eval.prompts 64
says "100 % of the completions are cut off at sampling.max_tokens = 6"
says "the format reward never fires"
awk '/NOT LEARNING .* cut off/ { said = said ? said : NR } /^step 1\// { step = NR } END { exit !(said && said < step) }' "$work/last.log" ||
  fail "what the evaluation and the first batch show was not said before step 1"

expect_code 0 "$troupe" run "${tiny[@]}" --run-dir "$work/fast" --optimizer.lr 0.3 --run.steps 8
says "the KL divergence to the reference has run away"

# No gradient, and weights that decay to nothing: the policy forgets all that it knew.
expect_code 0 "$troupe" run "${tiny[@]}" --run-dir "$work/forgets" "${always[@]}" --loss.kl_coef 0 --optimizer.lr 0.3 \
  --optimizer.weight_decay 1 --run.steps 8
says "the entropy has run away"

# Steps that are far too long, away from what it knew: soon it writes one thing only.
expect_code 0 "$troupe" run "${tiny[@]}" --run-dir "$work/collapse" --reward.accuracy.weight 0 --reward.format.weight 0 \
  --reward.tags.weight -1 --loss.kl_coef 0 --optimizer.lr 0.05 --health.min_entropy 0.02 --run.steps 16
says "the entropy has collapsed"

# Greedy sampling: the completions of a group are alike, and the learner's distribution is another one. (Whatever is written pays for every
# second row, so that at least the groups differ.)
for a in 12 34 56 78; do
  printf '{"question": "%s+21=", "gold": "1", "reward": "all"}\n{"question": "%s+32=", "gold": "1", "reward": "none"}\n' $a $a
done >"$work/two_kinds.jsonl"
expect_code 0 "$troupe" run "${tiny[@]}" --run-dir "$work/greedy" --sampling.top_k 1 --batch.prompts 8 --data.train "$work/two_kinds.jsonl" \
  --reward.all.kind regex --reward.all.pattern '[^]*' --reward.none.kind regex --reward.none.pattern 'never written'
says "at lag 0 trainer and sampler disagree by a log ratio"
says "100 % of the groups have equal rewards"

expect_code 0 "$troupe" run "${tiny[@]}" --run-dir "$work/solved" "${always[@]}"
says "since step 1: every reward is 1. Likely cause:"
