# learners.zero_stage and learners.recompute: the same run at each of them, resumed and replayed at others, with a reference that is
# refreshed and kept in checkpoints, with adapters, and in the supervised stages; what cannot work is refused by name.
. "$(dirname "$0")/common.sh"

run=("$troupe" run configs/smoke.cfg --learners.count 3 --checkpoint.every 2 --eval.prompts 2 --loss.reference_refresh_steps 3)
hash_of() { "$troupe" inspect "$1" --audit | sed -n 's/^final_hash //p'; }

expect_code 0 "${run[@]}" --run-dir "$work/one" --run.steps 5
expect_code 0 "${run[@]}" --run-dir "$work/mixed" --run.steps 2 --learners.zero_stage 3 --learners.recompute block
expect_code 0 "${run[@]}" --run-dir "$work/mixed" --run.steps 4 --learners.zero_stage 2
expect_code 0 "${run[@]}" --run-dir "$work/mixed" --run.steps 5 --learners.zero_stage 3
[ -f "$work/mixed/checkpoints/step-4/reference.safetensors" ] || fail "the checkpoint of step 4 has no reference"
[ "$(hash_of "$work/one")" = "$(hash_of "$work/mixed")" ] || fail "the stages end in different weights"
for stage in 1 2 3; do
  expect_code 0 "$troupe" replay "$work/mixed" --step 5 --set learners.zero_stage=$stage
  expect_text "the same bits as recorded" "$work/last.log"
done
expect_code 0 "$troupe" replay "$work/one" --step 3 --set learners.zero_stage=3 --world 2
expect_text "within the tolerance" "$work/last.log"

for stage in 1 3; do
  expect_code 0 "${run[@]}" --run-dir "$work/lora$stage" --run.steps 2 --lora.rank 4 --learners.zero_stage $stage
done
[ "$(hash_of "$work/lora1")" = "$(hash_of "$work/lora3")" ] || fail "the adapters differ"

mpi=(mpirun --allow-run-as-root --oversubscribe -np 2)
for stage in 1 3; do
  expect_code 0 "${mpi[@]}" "$troupe" sft configs/smoke.cfg --run-dir "$work/sft$stage" --run.steps 3 --data.train task:addition2/cold_start \
    --data.eval task:addition2/cold_start --learners.zero_stage $stage
  grep -o 'final_hash .*' "$work/last.log" >"$work/sft$stage.hash" || fail "no hash of stage $stage"
done
cmp -s "$work/sft1.hash" "$work/sft3.hash" || fail "the supervised stages end in different weights"

expect_code 2 "$troupe" doctor configs/smoke.cfg --learners.zero_stage 4
expect_text "learners.zero_stage = 4: expected a whole number of at least 1 and at most 3" "$work/last.log"
