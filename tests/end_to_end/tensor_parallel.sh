# learners.tensor_parallel: the smoke recipe by ranks that hold a model together, beside ranks that each have one; killed, resumed with
# another number of them, replayed, with adapters, and in SFT; exact with as many ranks of an actor (actors.tensor_parallel), killed too,
# and generating on their own; what cannot work is refused by name.
. "$(dirname "$0")/common.sh"

shorter=("$troupe" run configs/smoke.cfg --checkpoint.every 2 --eval.prompts 4 --cold_start.kv_heads 4)
run=("${shorter[@]}" --run.steps 4)

# The cold start is one of all ranks, so only runs on as many of them begin with the same bits.
expect_code 0 "${run[@]}" --run-dir "$work/alone2" --learners.count 2
expect_code 0 "${run[@]}" --run-dir "$work/alone4" --learners.count 4
expect_code 0 "${run[@]}" --run-dir "$work/2x1" --learners.count 2 --learners.tensor_parallel 2
grep -rhF "not exact: learners.tensor_parallel = 2" "$work/last.log" "$work"/2x1/logs >/dev/null || fail "the run does not say that it is not exact"
expect_code 0 "${run[@]}" --run-dir "$work/4x1" --learners.count 4 --learners.tensor_parallel 4
expect_code 0 "${run[@]}" --run-dir "$work/2x2" --learners.count 4 --learners.tensor_parallel 2 --learners.zero_stage 2

# The same again is the same bits; with another number from the checkpoint of step 2 on it is not, but near.
expect_code 0 "${run[@]}" --run-dir "$work/again" --learners.count 2 --learners.tensor_parallel 2
[ "$(audit "$work/2x1")" = "$(audit "$work/again")" ] || fail "the same run ended in other bits"
expect_code 0 "${shorter[@]}" --run-dir "$work/mixed" --learners.count 2 --run.steps 2
expect_code 0 "${run[@]}" --run-dir "$work/mixed" --learners.count 2 --learners.tensor_parallel 2

# A learner is killed as step 4 begins, and the group goes on from the checkpoint of step 2 to the bits of the undisturbed run.
expect_code 0 with_fault learner.step.begin:learner0:4:kill "${run[@]}" --run-dir "$work/killed" --learners.count 2 --learners.tensor_parallel 2
expect_text "after step 3: starting them again" "$work/last.log"
[ "$(audit "$work/2x1")" = "$(audit "$work/killed")" ] || fail "the killed run ended in other bits"

# At stage 3 too, whose bits are those of stage 2: killed, and gone on with at stage 2 from the checkpoint of step 2.
held=(--learners.count 4 --learners.tensor_parallel 2)
expect_code 0 with_fault learner.optimizer:learner2:4:kill "${run[@]}" "${held[@]}" --run-dir "$work/2x2third" --learners.zero_stage 3
[ -e "$work/fault" ] || fail "no learner was killed at stage 3"
[ "$(audit "$work/2x2")" = "$(audit "$work/2x2third")" ] || fail "stages 2 and 3 end in other bits"
expect_code 0 "$troupe" replay "$work/2x2third" --step 4
expect_text "the same bits as recorded" "$work/last.log"
expect_code 0 "${shorter[@]}" "${held[@]}" --run-dir "$work/2x2turns" --learners.zero_stage 3 --run.steps 2
expect_code 0 "${run[@]}" "${held[@]}" --run-dir "$work/2x2turns" --learners.zero_stage 2
[ "$(audit "$work/2x2")" = "$(audit "$work/2x2turns")" ] || fail "a run that changed its stage ends in other bits"

# Beside actors whose models as many ranks hold every step asserts that it is exact, and an actor that dies changes nothing.
joint=("${run[@]}" --learners.count 2 --learners.tensor_parallel 2 --actors.tensor_parallel 2)
expect_code 0 "${joint[@]}" --run-dir "$work/exact"
! grep -rhF "not exact" "$work/last.log" "$work/exact/logs" || fail "the run says that it is not exact"
[ "$(grep -c '"ratio_max_abs_log":0.0[,}]' "$work/exact/metrics.jsonl")" = 4 ] || fail "a log-probability differs in the exact run"
expect_code 0 "$troupe" replay "$work/exact" --step 3 --role actor
expect_text "16 completions, the same tokens and log-probabilities as recorded" "$work/last.log"
expect_code 0 with_fault actor.generate:actor0:20:kill "${joint[@]}" --run-dir "$work/dead_actor"
[ -e "$work/fault" ] || fail "no actor was killed"
[ "$(audit "$work/exact")" = "$(audit "$work/dead_actor")" ] || fail "the run whose actor was killed ended in other bits"

printf '{"prompt":"12+34="}\n{"prompt":"5+7="}\n' >"$work/questions.jsonl"
generate=("$troupe" generate --model "$work/exact/checkpoints/step-4/hf" --prompts "$work/questions.jsonl" --max-tokens 24)
for together in 1 2 4; do expect_code 0 "${generate[@]}" --out "$work/generated$together.jsonl" --tensor-parallel $together; done
python3 - "$work" <<'PYTHON' || fail "generating with ranks that hold the model together is not near generating with one"
import json, sys
one, two, four = ([json.loads(line) for line in open(f"{sys.argv[1]}/generated{n}.jsonl")] for n in (1, 2, 4))
assert len(one) == 2
for rows in (two, four):
    for expected, found in zip(one, rows, strict=True):
        assert found["ids"] == expected["ids"], (expected, found)
        assert all(abs(a - b) < 1e-4 for a, b in zip(expected["logprobs"], found["logprobs"], strict=True)), (expected, found)
assert [row["logprobs"] for row in two] != [row["logprobs"] for row in one]
PYTHON

python3 - "$work" <<'PYTHON' || fail "the metrics are not near those of ranks that each have a model"
import json, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl")]
for name, alone in (("2x1", "alone2"), ("mixed", "alone2"), ("4x1", "alone4"), ("2x2", "alone4")):
    for expected, found in zip(read(alone), read(name), strict=True):
        for key, share in (("loss", 1e-2), ("grad_norm", 1e-2), ("entropy", 1e-3), ("reward", 1e-9), ("tokens_trained", 0)):
            far = abs(found[key] - expected[key]) / max(abs(expected[key]), 1e-3)
            assert far <= share, (name, expected["step"], key, expected[key], found[key])
        assert expected["ratio_mean_abs_log"] == 0 and expected["ratio_effective_share"] == 1, expected
        if name == "mixed" and found["step"] <= 2: continue  # each had a model of its own
        assert 0 < found["ratio_mean_abs_log"] < found["ratio_max_abs_log"] < 1e-4, found
        assert 0.9999 < found["ratio_effective_share"] < 1, found
PYTHON

expect_code 0 "$troupe" replay "$work/2x2" --step 4
expect_text "the same bits as recorded" "$work/last.log"
expect_code 0 "$troupe" replay "$work/mixed" --step 4 --set learners.tensor_parallel=2
expect_text "the same bits as recorded" "$work/last.log"

expect_code 0 "${run[@]}" --run-dir "$work/lora" --learners.count 2 --learners.tensor_parallel 2 --lora.rank 4 --loss.reference_refresh_steps 3
expect_code 0 "$troupe" replay "$work/lora" --step 3
expect_text "the same bits as recorded" "$work/last.log"
[ -s "$work/lora/checkpoints/step-4/adapter/adapter_config.json" ] || fail "there are no adapters"

mpi=(mpirun "${mpirun_flags[@]}" -np 2)
for together in 1 2; do
  expect_code 0 "${mpi[@]}" "$troupe" sft configs/smoke.cfg --run-dir "$work/sft$together" --run.steps 6 --data.train task:addition2/cold_start \
    --data.eval task:addition2/cold_start --learners.tensor_parallel $together --learners.zero_stage $((2 * together - 1))
done
python3 - "$work" <<'PYTHON' || fail "SFT by two ranks that hold a model together does not learn as by two that do not"
import json, sys
alone, together = (json.load(open(f"{sys.argv[1]}/sft{n}/summary.json")) for n in (1, 2))
assert together["held_out_loss_after"] < together["held_out_loss_before"], together
assert abs(together["held_out_loss_after"] / alone["held_out_loss_after"] - 1) < 1e-3, (alone, together)
PYTHON

refused() {
  local text="$1"
  shift
  expect_code 2 "$@"
  expect_text "$text" "$work/last.log"
}
refused "learners.tensor_parallel = 3: expected one of 1, 2, 4, 8" "$troupe" doctor configs/smoke.cfg --learners.tensor_parallel 3
refused "learners.tensor_parallel = 4: expected a divisor of cold_start.kv_heads = 2" "$troupe" doctor configs/smoke.cfg --learners.tensor_parallel 4
refused "actors.tensor_parallel = 4: expected a divisor of cold_start.kv_heads = 2" "$troupe" doctor configs/smoke.cfg --actors.tensor_parallel 4
refused "actors.tensor_parallel = 2: expected 1 beside actors.weights = nccl" "$troupe" doctor configs/smoke.cfg --actors.tensor_parallel 2 --actors.weights nccl
refused "--tensor-parallel = 3: expected a divisor of the model's num_attention_heads, 4" "${generate[@]}" --out "$work/no.jsonl" --tensor-parallel 3
expect_code 0 "$troupe" doctor configs/smoke.cfg --actors.tensor_parallel 2
expect_text "ranks of an actor: 2 threads of the CPU" "$work/last.log"
refused "learners.tensor_parallel = 2: expected a divisor of the number of learners, 3" "${run[@]}" --run-dir "$work/no" --learners.count 3 --learners.tensor_parallel 2
