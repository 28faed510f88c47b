# RL with a reference that is refreshed, and with low-rank adapters: resumed and replayed to the bits from checkpoints on either side
# of a refresh.
. "$(dirname "$0")/common.sh"

common=(configs/smoke.cfg --checkpoint.every 3 --checkpoint.keep_last 9 --eval.prompts 2)
refresh=("${common[@]}" --run.steps 10 --loss.reference_refresh_steps 4 --loss.kl_coef 0.5 --optimizer.lr 3e-3)
lora=("${common[@]}" --run.steps 4 --lora.rank 4 --optimizer.lr 1e-2)

expect_code 0 "$troupe" run "${refresh[@]}" --run-dir "$work/refresh"
[ -s "$work/refresh/checkpoints/step-6/reference.safetensors" ] || fail "the checkpoint of step 6 does not hold the reference of step 4"
[ ! -e "$work/refresh/checkpoints/step-3/reference.safetensors" ] || fail "the checkpoint of step 3 holds the start's model"
# From the start, from the checkpoints of steps 3 and 6 over a refresh, and from the reference that a checkpoint holds.
for step in 3 5 7 9 10; do
  expect_code 0 "$troupe" replay "$work/refresh" --step $step
  expect_text "the same bits as recorded" "$work/last.log"
done

# A learner is killed as step 8 begins; all go on from the checkpoint of step 6.
expect_code 0 with_fault learner.step.begin:learner0:8:kill "$troupe" run "${refresh[@]}" --run-dir "$work/killed"
expect_text "after step 7: starting them again" "$work/last.log"
[ "$(audit "$work/refresh")" = "$(audit "$work/killed")" ] || fail "the killed run ended in other bits"

expect_code 0 "$troupe" run "${lora[@]}" --run-dir "$work/lora"
[ -s "$work/lora/checkpoints/step-4/adapter/adapter_config.json" ] || fail "there are no adapters"
for step in 3 4; do
  expect_code 0 "$troupe" replay "$work/lora" --step $step
  expect_text "the same bits as recorded" "$work/last.log"
done
expect_code 0 "$troupe" replay "$work/lora" --step 4 --role actor
audit "$work/lora" >/dev/null
