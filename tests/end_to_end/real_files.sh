# A pretrained Hugging Face model and GSM8K rows through every part, to an exported checkpoint; and the model's own numbers:
# greedy text and log-probabilities against tests/parity/tinystories_golden.json (made by transformers in float64).
. "$(dirname "$0")/common.sh"

run="$work/run"
expect_code 0 "$troupe" run configs/tinystories_gsm8k_cpu.cfg --run-dir "$run"
audit "$run" >/dev/null
[ -s "$run/checkpoints/step-4/hf/model.safetensors" ] || fail "no exported checkpoint"

model=tests/data/tinystories-656k
golden=tests/parity/tinystories_golden.json
python3 - "$golden" "$work" <<'PYTHON' || fail "could not prepare the inputs"
import json, sys
golden, work = json.load(open(sys.argv[1])), sys.argv[2]
open(work + "/prompts.jsonl", "w").write(json.dumps({"prompt": golden["prompt"]}) + "\n")
open(work + "/texts.jsonl", "w").write("".join(json.dumps({"text": t["text"]}) + "\n" for t in golden["texts"]))
PYTHON
expect_code 0 "$troupe" generate --model $model --prompts "$work/prompts.jsonl" --out "$work/out.jsonl" --temperature 0 --max-tokens 64
expect_code 0 "$troupe" score --model $model --in "$work/texts.jsonl" --out "$work/scores.jsonl"
python3 - "$golden" "$work" <<'PYTHON' || fail "the numbers differ from transformers'"
import json, sys
golden, work = json.load(open(sys.argv[1])), sys.argv[2]
out = json.loads(open(work + "/out.jsonl").read())
assert out["ids"] == golden["greedy_ids"], (out["ids"], golden["greedy_ids"])
worst = max(abs(a - b) for a, b in zip(out["logprobs"], golden["greedy_logprobs"]))
for line, text in zip(open(work + "/scores.jsonl"), golden["texts"], strict=True):
    row = json.loads(line)
    assert row["ids"] == text["ids"] and row["logprobs"][0] is None
    worst = max([worst] + [abs(a - b) for a, b in zip(row["logprobs"][1:], text["logprobs"], strict=True)])
assert worst < 1e-4, worst  # fp32 against float64; the bound that users are promised
PYTHON
