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

# A generation that was killed goes on where it was, to the file that one in one go makes; with other options it does not. Stop
# texts end completions and are not in them; a row's own seed and max_tokens go before the options'.
python3 -c 'import json, sys
for i in range(1200): print(json.dumps({"prompt": f"Once upon a time {i}", **({"seed": 9, "max_tokens": 3} if i == 5 else {})}))' >"$work/prompts.jsonl"
generate=("$troupe" generate --model $model --prompts "$work/prompts.jsonl" --samples 2 --max-tokens 60 --slots 2 --stop . --stop " and")
expect_code 0 "${generate[@]}" --out "$work/whole.jsonl"
"${generate[@]}" --out "$work/killed.jsonl" 2>/dev/null &
child=$!
children+=($child)
wait_for 60 "rows to be written" test -s "$work/killed.jsonl"
kill -KILL $child
wait $child 2>/dev/null
[ -e "$work/killed.jsonl.unfinished" ] || fail "a killed generation left no word of its options"
cp "$work/killed.jsonl" "$work/before.jsonl"
expect_code 2 "${generate[@]}" --out "$work/killed.jsonl" --temperature 0.5
expect_text "was begun with temperature = 1.0, now it is 0.5" "$work/last.log"
cmp "$work/killed.jsonl" "$work/before.jsonl" || fail "a refused generation changed the file"
printf '{"prompt": "torn' >>"$work/killed.jsonl"
expect_code 0 "${generate[@]}" --out "$work/killed.jsonl"
expect_text "going on after" "$work/last.log"
cmp "$work/killed.jsonl" "$work/whole.jsonl" || fail "the generation that went on differs from the one in one go"
[ ! -e "$work/killed.jsonl.unfinished" ] || fail "a finished generation still says that it is unfinished"
python3 - "$work" <<'PYTHON' || fail "stop texts"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1] + "/whole.jsonl")]
assert len(rows) == 2400 and [row["sample"] for row in rows] == [0, 1] * 1200
assert all("." not in row["text"] and " and" not in row["text"] for row in rows)
stopped = [row for row in rows if row["finish_reason"] == "stop"]
assert len(stopped) > 40 and any(len(row["ids"]) < 60 for row in stopped), len(stopped)
assert all(len(row["ids"]) <= 3 for row in rows[10:12])
PYTHON
