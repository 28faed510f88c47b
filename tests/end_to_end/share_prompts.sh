# batch.share_prompts: exact mode holds; killed, such a run resumes to the same bits, at any ZeRO stage; its steps are replayed, and a step
# of a plain run has its gradient but for rounding; a critic and DPO share too; stages without common prompts refuse.
. "$(dirname "$0")/common.sh"

rewards=(--reward.length.kind length --reward.length.max_tokens 48)  # differ in every group, so that every step has a gradient
run=("$troupe" run configs/smoke.cfg "${rewards[@]}" --eval.prompts 2 --checkpoint.every 2 --checkpoint.keep_last 9)
shared=("${run[@]}" --batch.share_prompts true --batch.micro_tokens 256 --batch.updates 2 --run.steps 5)

expect_code 0 "${run[@]}" --run.steps 2 --run-dir "$work/plain"
expect_code 0 "$troupe" replay "$work/plain" --step 2
expect_code 1 "$troupe" replay "$work/plain" --step 2 --set batch.share_prompts=true
expect_text "changed batch.share_prompts: false -> true" "$work/last.log"
python3 - "$work/last.log" <<'PYTHON' || fail "the gradient of shared prompts is another one"
import re, sys
before, after = map(float, re.search(r"gradient norm (\S+) -> (\S+)", open(sys.argv[1]).read()).groups())
assert before != after and abs(before - after) < 1e-5 * before, (before, after)
PYTHON

expect_code 0 "${shared[@]}" --run-dir "$work/shared"
hash="$(audit "$work/shared")"
for step in 1 3 5; do
  expect_code 0 "$troupe" replay "$work/shared" --step $step
  expect_text "the same bits as recorded" "$work/last.log"
done
expect_code 0 "$troupe" replay "$work/shared" --step 3 --role actor
expect_code 0 "$troupe" replay "$work/shared" --step 3 --world 3
expect_text "within the tolerance" "$work/last.log"

# A learner is killed as step 4 begins; all go on from the checkpoint of step 2.
expect_code 0 with_fault learner.step.begin:learner0:4:kill "${shared[@]}" --run-dir "$work/killed" --learners.recompute block
expect_text "after step 3: starting them again" "$work/last.log"
[ "$(audit "$work/killed")" = "$hash" ] || fail "the killed run ended in other bits"

# One micro-batch a rank and update: every ZeRO stage has the same bits.
for stage in 1 3; do
  expect_code 0 "${run[@]}" --batch.share_prompts true --run.steps 2 --learners.zero_stage $stage --run-dir "$work/stage$stage"
done
[ "$(audit "$work/stage1")" = "$(audit "$work/stage3")" ] || fail "the stages end in different weights"

expect_code 0 "${run[@]}" --batch.share_prompts true --loss.advantage gae --critic.lr 1e-3 --batch.epochs 2 --run.steps 2 --run-dir "$work/ppo"
expect_code 0 "$troupe" replay "$work/ppo" --step 2

dpo=("$troupe" dpo configs/dpo_politeness_cpu.cfg --model.path tests/data/tinystories-656k --batch.prompts 4 --run.steps 4 --eval.every 4 --eval.prompts 8)
for share in false true; do
  expect_code 0 "${dpo[@]}" --batch.share_prompts $share --run-dir "$work/dpo-$share"
done
python3 - "$work/dpo-false/metrics.jsonl" "$work/dpo-true/metrics.jsonl" <<'PYTHON' || fail "pairs that share their prompts learn otherwise"
import json, sys
plain, shared = ([json.loads(line) for line in open(path)] for path in sys.argv[1:])
assert len(plain) == len(shared) == 5, (len(plain), len(shared))
# The first loss is log 2 whatever the sums' order; later ones differ by what rounding makes of four of AdamW's steps.
assert plain[1]["loss"] == shared[1]["loss"], (plain[1], shared[1])
assert all(abs(a.get("loss", 0) - b.get("loss", 0)) < 1e-3 for a, b in zip(plain, shared)), (plain, shared)
assert plain[2]["grad_norm"] != shared[2]["grad_norm"], "nothing was shared"
PYTHON

refuses() {
  expect_code 2 "$@" --batch.share_prompts true --run-dir "$work/no"
  expect_text "batch.share_prompts = true: expected false, $why" "$work/last.log"
}
why="the texts of this stage have no prompts in common"
refuses "$troupe" sft configs/sft_answers_cpu.cfg
refuses "$troupe" pretrain configs/pretrain_shakespeare_cpu.cfg
why="reward models read each text by itself" refuses "$troupe" reward-model configs/tinystories_reward_cpu.cfg
