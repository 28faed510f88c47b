# The supervised stages and the cold start on a GPU: killed and resumed to the bits of an undisturbed run, with the CPU's losses but for
# the roundings of bf16.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/killed_and_resumed.sh"

quick=(--batch.prompts 4 --checkpoint.every 3 --eval.every 8 --eval.prompts 8 --run.steps 24)
low=(--model.dtype bf16 --learners.device)
killed_and_resumed sft "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" "${low[@]}" cuda
killed_and_resumed dpo "$troupe" dpo configs/dpo_politeness_cpu.cfg "${quick[@]}" "${low[@]}" cuda --model.path "$work/sft/checkpoints/step-24/hf"
killed_and_resumed pretrain "$troupe" pretrain configs/pretrain_shakespeare_cpu.cfg "${quick[@]}" "${low[@]}" cuda --cold_start.hidden 64 \
  --cold_start.layers 1 --cold_start.heads 2 --cold_start.kv_heads 2 --cold_start.intermediate 64 --data.sequence_tokens 64
killed_and_resumed lora "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" "${low[@]}" cuda --lora.rank 4 --lora.targets q_proj,v_proj \
  --optimizer.lr 0.01

expect_code 0 "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" "${low[@]}" cpu --run-dir "$work/sft-cpu"
expect_code 0 "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" --learners.device cpu --run-dir "$work/sft-exact"
python3 - "$work" <<'PYTHON' || fail "the GPU learns otherwise than the CPU"
import json, sys
losses = lambda name: [json.loads(line)["loss"] for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl") if '"loss"' in line]
gpu, cpu, exact = losses("sft"), losses("sft-cpu"), losses("sft-exact")
rounding = max(abs(a - b) for a, b in zip(cpu, exact))  # what bf16 costs the CPU, which rounds at the same places
assert len(gpu) == len(exact) == 24 and max(abs(a - b) for a, b in zip(gpu, exact)) < 2 * rounding + 1e-3, (gpu, cpu, exact)
PYTHON

# A cold start: the same weights twice, and nearly the CPU's loss.
for run in cuda cuda-again cpu; do
  expect_code 0 "$troupe" run configs/smoke.cfg "${low[@]}" "${run%-again}" --actors.device cpu --learners.count 1 --run.exact false \
    --run.steps 1 --run-dir "$work/start-$run"
done
cmp "$work/start-cuda/start/model.safetensors" "$work/start-cuda-again/start/model.safetensors" || fail "two cold starts differ"
! cmp -s "$work/start-cuda/start/model.safetensors" "$work/start-cpu/start/model.safetensors" || fail "the cold start did not use the GPU"
