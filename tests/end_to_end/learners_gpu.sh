# What a learner may keep, leave out or compute again on a GPU changes no bit of a run; adapters, a critic and a reward model train there,
# are resumed and replayed.
. "$(dirname "$0")/common.sh"

low=(--model.dtype bf16 --learners.device cuda --actors.device cuda --actors.count 1 --eval.prompts 2)
# run NAME LEARNERS KEYS … : its hash.
run() {
  local name="$1" learners="$2"
  shift 2
  expect_code 0 "$troupe" run configs/smoke.cfg "${low[@]}" --learners.count "$learners" --run-dir "$work/$name" "$@"
  audit "$work/$name"
}
replayed() {
  expect_code 0 "$troupe" replay "$work/$1" --step "$2" "${@:3}"
  expect_text "the same bits as recorded" "$work/last.log"
}

whole="$(run whole 1)"
[ -n "$whole" ] || fail "the run has no final_hash"
replayed whole 4
replayed whole 2 --set learners.recompute=block
for keep in none activations block; do
  [ "$(run "$keep" 1 --learners.recompute "$keep")" = "$whole" ] || fail "learners.recompute = $keep ends in other bits"
done
for offload in reference optimizer all; do
  [ "$(run "$offload" 1 --learners.offload "$offload")" = "$whole" ] || fail "learners.offload = $offload ends in other bits"
done

# Two learners that share the GPU, or have one each.
two="$(run two 2)"
[ -n "$two" ] && [ "$(run stage2 2 --learners.zero_stage 2 --learners.offload optimizer)" = "$two" ] || fail "ZeRO stage 2 ends in other bits"
replayed stage2 3
[ "$(run stage3 2 --learners.zero_stage 3)" = "$two" ] || fail "ZeRO stage 3 ends in other bits"
replayed stage3 5

refreshed="$(run refreshed 2 --loss.reference_refresh_steps 2)"
[ -n "$refreshed" ] || fail "the run with a reference that is refreshed has no final_hash"
[ "$(run refreshed3 2 --loss.reference_refresh_steps 2 --learners.zero_stage 3 --learners.offload reference)" = "$refreshed" ] ||
  fail "ZeRO stage 3 with a reference that lies elsewhere ends in other bits"

held="$(run held 2 --learners.tensor_parallel 2)"
[ -n "$held" ] && [ "$held" != "$two" ] || fail "learners that hold the model together have no run of their own"
[ "$(run held3 2 --learners.tensor_parallel 2 --learners.zero_stage 3)" = "$held" ] || fail "ZeRO stage 3 of a held model ends in other bits"
replayed held3 5

adapters="$(run adapters 1 --lora.rank 4)"
[ -n "$adapters" ] && [ "$adapters" != "$whole" ] || fail "the adapters do not change the run"
replayed adapters 5

ppo=(--loss.advantage gae --loss.kl k1 --loss.kl_in reward --loss.kl_coef 0.05 --critic.lr 1e-3 --group.size 1 --batch.prompts 16
  --batch.updates 2 --batch.epochs 2 --checkpoint.every 3)
critic="$(run critic 1 "${ppo[@]}")"
replayed critic 5
expect_code 0 "$troupe" run configs/smoke.cfg "${low[@]}" --learners.count 1 "${ppo[@]}" --run-dir "$work/stopped" --run.steps 4
[ "$(run stopped 1 "${ppo[@]}")" = "$critic" ] || fail "the resumed critic ends in other bits"

[ "$(run critic2 2 "${ppo[@]}")" = "$(run critic3 2 "${ppo[@]}" --learners.zero_stage 3)" ] || fail "a critic at stage 3 ends in other bits"
[ -n "$(run critic_held 2 "${ppo[@]}" --learners.zero_stage 3 --learners.tensor_parallel 2)" ] || fail "no critic that learners hold together"

preferences=("$troupe" reward-model configs/tinystories_reward_cpu.cfg --run.steps 48 --checkpoint.every 3 --eval.every 12 --eval.prompts 64
  --model.dtype bf16 --learners.device cuda)
expect_code 0 "${preferences[@]}" --run-dir "$work/preferences"
expect_code 137 with_fault checkpoint.begin:learner0:2:kill "${preferences[@]}" --run-dir "$work/preferences-killed"
expect_code 0 "${preferences[@]}" --run-dir "$work/preferences-killed"
cmp "$work/preferences/summary.json" "$work/preferences-killed/summary.json" || fail "another reward model after a kill"
python3 - "$work/preferences/summary.json" <<'PYTHON' || fail "the reward model did not learn"
import json, sys
summary = json.load(open(sys.argv[1]))
assert summary["accuracy_after"] > max(0.6, summary["accuracy_before"]), summary
PYTHON
served=(--reward.polite.kind model --reward.polite.path "$work/preferences/checkpoints/step-48/hf" --rewarders.device cuda)
[ -n "$(run served 1 "${served[@]}")" ] || fail "no run with a reward model on the GPU"
replayed served 3
