# The supervised stages on real files: each is killed and resumed to the bits of an undisturbed run, learns, exports what the other
# commands read, and refuses wrong rows and directories by name.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/killed_and_resumed.sh"

for recipe in pretrain_shakespeare_cpu sft_answers_cpu dpo_politeness_cpu tinystories_reward_cpu; do
  expect_code 0 "$troupe" doctor "configs/$recipe.cfg"
done
expect_code 1 "$troupe" doctor configs/pretrain_shakespeare_cpu.cfg --data.train "$work/not_there.txt"
expect_text "FAIL text $work/not_there.txt" "$work/last.log"

model=tests/data/tinystories-656k
quick=(--batch.prompts 4 --checkpoint.every 3 --eval.every 8 --eval.prompts 8)
killed_and_resumed pretrain "$troupe" pretrain configs/pretrain_shakespeare_cpu.cfg "${quick[@]}" --run.steps 24 --cold_start.hidden 32 --cold_start.layers 1 \
  --cold_start.heads 2 --cold_start.intermediate 64 --data.sequence_tokens 64
killed_and_resumed sft "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" --run.steps 24
killed_and_resumed dpo "$troupe" dpo configs/dpo_politeness_cpu.cfg "${quick[@]}" --run.steps 24 --model.path "$work/sft/checkpoints/step-24/hf"
killed_and_resumed lora "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" --run.steps 24 --lora.rank 4 --lora.targets q_proj,v_proj --optimizer.lr 0.01
grep -q '"loss":0.6931' "$work/dpo/metrics.jsonl" || fail "the first step of DPO does not cost log 2"
[ -s "$work/lora/checkpoints/step-24/adapter/adapter_model.safetensors" ] || fail "there are no adapters"

# More steps go on; the finished run, another configuration and another stage are refused.
expect_code 0 "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" --run-dir "$work/sft-killed" --run.steps 26
expect_code 2 "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" --run.steps 24 --run-dir "$work/sft"
expect_text "the run is finished" "$work/last.log"
expect_code 2 "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" --run-dir "$work/sft" --run.steps 30 --optimizer.lr 0.5
expect_text "optimizer.lr: 0.002 -> 0.5" "$work/last.log"
expect_code 2 "$troupe" dpo configs/dpo_politeness_cpu.cfg "${quick[@]}" --run.steps 24 --run-dir "$work/sft"
expect_text "a run of troupe sft is there" "$work/last.log"

# Wrong rows and files.
echo '{"prompt": "a", "chosen": "b"}' >"$work/bad.jsonl"
expect_code 2 "$troupe" dpo configs/dpo_politeness_cpu.cfg --run-dir "$work/bad" --data.train "$work/bad.jsonl"
expect_text 'bad.jsonl:1: expected the key "rejected", found chosen, prompt' "$work/last.log"
expect_code 2 "$troupe" sft configs/sft_answers_cpu.cfg --run-dir "$work/bad" --data.train "$work/bad.jsonl"
expect_text 'bad.jsonl:1: expected the key "completion"' "$work/last.log"
expect_code 2 "$troupe" sft configs/sft_answers_cpu.cfg --run-dir "$work/bad" --data.max_prompt_tokens 8
expect_text "data.max_prompt_tokens allows 8" "$work/last.log"
expect_code 2 "$troupe" pretrain configs/pretrain_shakespeare_cpu.cfg --run-dir "$work/bad" --data.sequence_tokens 1024
expect_text "data.sequence_tokens = 1024: expected at most 256, the model's positions" "$work/last.log"
expect_code 2 "$troupe" sft configs/sft_answers_cpu.cfg --run-dir "$work/bad" --lora.rank 4 --lora.targets nosuch
expect_text "found 'nosuch'" "$work/last.log"

# Gradients that are not finite are counted, and end the run.
expect_code 1 "$troupe" sft configs/sft_answers_cpu.cfg --batch.prompts 4 --run.steps 24 --run-dir "$work/nan" --optimizer.lr 1 --optimizer.clip_norm 0 \
  --optimizer.weight_decay 1e18 --optimizer.warmup_steps 0
expect_text "was not finite in 3 steps in a row (run.max_skipped)" "$work/last.log"
expect_text '"updates_skipped":1.0' "$work/nan/metrics.jsonl"

# Two ranks train the same as one, but for the order of sums; what they export is read by the other commands.
expect_code 0 mpirun "${mpirun_flags[@]}" -np 2 "$troupe" sft configs/sft_answers_cpu.cfg "${quick[@]}" --run.steps 24 --run-dir "$work/sft-2"
python3 - "$(held_out "$work/sft")" "$(held_out "$work/sft-2")" <<'PYTHON' || fail "two ranks learn otherwise than one"
import sys
one, two = (list(map(float, text.split())) for text in sys.argv[1:])
assert all(abs(a - b) < 1e-3 for a, b in zip(one, two)), (one, two)
PYTHON
echo '{"text": "Once upon a time"}' >"$work/in.jsonl"
expect_code 0 "$troupe" score --model "$work/lora/checkpoints/step-24/hf" --in "$work/in.jsonl" --out "$work/out.jsonl"
