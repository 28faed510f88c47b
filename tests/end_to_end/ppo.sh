# PPO: a critic beside the policy. Killed it resumes, critic and all, to the same bits; its steps are replayed in every role, from
# checkpoints and over them, and on another number of ranks.
. "$(dirname "$0")/common.sh"

ppo=(configs/smoke.cfg --loss.advantage gae --loss.kl k1 --loss.kl_in reward --loss.kl_coef 0.05 --critic.lr 1e-3 --group.size 1
  --batch.prompts 16 --batch.updates 2 --batch.epochs 2 --run.steps 8 --checkpoint.every 3 --checkpoint.keep_last 9 --eval.prompts 2)

expect_code 0 "$troupe" run "${ppo[@]}" --run-dir "$work/whole"
hash="$(audit "$work/whole")"
[ -s "$work/whole/checkpoints/step-6/critic.safetensors" ] || fail "the checkpoint of step 6 has no critic"
python3 - "$work/whole/metrics.jsonl" <<'PYTHON' || fail "the critic's numbers are missing or it does not learn"
import json, sys
steps = [json.loads(line) for line in open(sys.argv[1])]
assert all(step["value_loss"] > 0 and "explained_variance" in step and "value_clip_share" in step for step in steps), steps
assert steps[-1]["value_loss"] < steps[0]["value_loss"], [step["value_loss"] for step in steps]
PYTHON
for step in 1 3 5 8; do
  expect_code 0 "$troupe" replay "$work/whole" --step $step
  expect_text "the same bits as recorded" "$work/last.log"
done
expect_code 0 "$troupe" replay "$work/whole" --step 7 --role actor
expect_code 0 "$troupe" replay "$work/whole" --step 5 --world 1
expect_text "within the tolerance" "$work/last.log"
expect_code 1 "$troupe" replay "$work/whole" --step 5 --set critic.lambda=0.5
expect_text "changed critic.lambda: 0.95 -> 0.5" "$work/last.log"

# A learner is killed as step 5 begins; all go on from the checkpoint of step 3.
expect_code 0 with_fault learner.step.begin:learner0:5:kill "$troupe" run "${ppo[@]}" --run-dir "$work/killed"
expect_text "after step 4: starting them again" "$work/last.log"
[ "$(audit "$work/killed")" = "$hash" ] || fail "the killed run ended in other bits"

# Gradients and parameters shared out are the same run, killed too; of ranks that hold both models together it is near, and repeats itself.
expect_code 0 with_fault collective.inside:learner1:300:kill "$troupe" run "${ppo[@]}" --run-dir "$work/third" --learners.zero_stage 3
[ -e "$work/fault" ] || fail "no learner was killed at stage 3"
[ "$(audit "$work/third")" = "$hash" ] || fail "stage 3 ended in other bits"
for stage in 1 3; do
  expect_code 0 "$troupe" run "${ppo[@]}" --run-dir "$work/held$stage" --learners.tensor_parallel 2 --learners.zero_stage $stage
done
[ "$(audit "$work/held1")" = "$(audit "$work/held3")" ] || fail "stages end in other bits where ranks hold the models together"
expect_code 0 "$troupe" replay "$work/held3" --step 5
expect_text "the same bits as recorded" "$work/last.log"
python3 - "$work" <<'PYTHON' || fail "ranks that hold the models together train something else"
import json, sys
whole, held = ([json.loads(line) for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl")] for name in ("whole", "held3"))
for key, share in (("value_loss", 1e-4), ("explained_variance", 1e-4), ("loss", 1e-3), ("grad_norm", 1e-3)):
    assert abs(held[0][key] - whole[0][key]) <= share * max(abs(whole[0][key]), 1e-2), (key, whole[0][key], held[0][key])
PYTHON

# A critic of its own start changes the run; one of another vocabulary is refused.
expect_code 2 "$troupe" run "${ppo[@]}" --run-dir "$work/other" --critic.path tests/data/tinystories-656k
expect_text "expected a model with the policy's vocabulary" "$work/last.log"
