# Rows of messages through the whole: generated with a model's chat template (the prompt is the text that transformers renders, and is
# tokenised without adding special tokens), trained on by SFT and by GRPO, and refused where there is no template.
. "$(dirname "$0")/common.sh"

bare=tests/data/tinystories-656k
model="$work/model"
cp -r $bare "$model"
chmod -R u+w "$model"
cp tests/data/chat/qwen2_5.jinja "$model/chat_template.jinja"
python3 - "$work" <<'PYTHON' || fail "could not prepare the inputs"
import json, sys
work = sys.argv[1]
golden = [json.loads(line) for line in open("tests/parity/chat_golden.jsonl")]
rows = [r for r in golden[1:] if r["template"] == "qwen2_5" and "text" in r and r["variables"]["add_generation_prompt"]
        and r["conversation"] in ("one", "turns", "empty texts", "unicode") and not r["with_tools"]]
assert len(rows) == 4
with open(work + "/prompts.jsonl", "w") as out:
    for row in rows:
        out.write(json.dumps({"messages": golden[0]["conversations"][row["conversation"]]}) + "\n")
open(work + "/tools.jsonl", "w").write(json.dumps({"messages": [], "tools": [{"z": 1, "a": 2}]}) + "\n")
json.dump([row["text"] for row in rows], open(work + "/expected.json", "w"))
turn = lambda role, content: {"role": role, "content": content}
with open(work + "/sft.jsonl", "w") as out:
    out.write(json.dumps({"messages": [turn("user", "a"), turn("assistant", "Once"), turn("user", "b"), turn("assistant", "upon a time")]}) + "\n")
    out.write(json.dumps({"prompt": "One day", "completion": " a dog"}) + "\n")
with open(work + "/train.jsonl", "w") as out:
    for i in range(8):
        out.write(json.dumps({"messages": [turn("system", "s"), turn("user", f"What is {i}?")], "gold": str(i)}) + "\n")
PYTHON

expect_code 0 "$troupe" generate --model "$model" --prompts "$work/prompts.jsonl" --out "$work/out.jsonl" --temperature 0 --max-tokens 2
python3 - "$work" <<'PYTHON' || fail "the prompts differ from transformers'"
import json, sys
work = sys.argv[1]
out = [json.loads(line)["prompt"] for line in open(work + "/out.jsonl")]
assert out == json.load(open(work + "/expected.json")), out
PYTHON
cp "$model/chat_template.jinja" "$work/own.jinja"
printf '{{ tools | tojson }}{{ strftime_now("%%d %%b %%Y") }}' >"$model/chat_template.jinja"
expect_code 0 "$troupe" generate --model "$model" --prompts "$work/tools.jsonl" --out "$work/out.jsonl" --max-tokens 1 --date 2024-07-06
expect_text '"prompt":"[{\"z\": 1, \"a\": 2}]06 Jul 2024"' "$work/out.jsonl"
cp "$work/own.jinja" "$model/chat_template.jinja"
expect_code 2 "$troupe" generate --model $bare --prompts "$work/prompts.jsonl" --out "$work/out.jsonl"
expect_text "no chat template: expected the file $bare/chat_template.jinja" "$work/last.log"
expect_text "plain, r1_zero, chatml, llama3, r1" "$work/last.log"
expect_code 2 "$troupe" generate --model $bare --template nosuch --prompts "$work/prompts.jsonl" --out "$work/out.jsonl"

printf '[run]\nsteps = 2\n[data]\ntrain = %s\n[batch]\nprompts = 2\n' "$work/sft.jsonl" >"$work/sft.cfg"
expect_code 0 "$troupe" sft "$work/sft.cfg" --run-dir "$work/sft" --model.path "$model"
[ -s "$work/sft/checkpoints/step-2/hf/chat_template.jinja" ] || fail "the exported model has no chat template"
expect_code 2 "$troupe" sft "$work/sft.cfg" --run-dir "$work/sft-bare" --model.path $bare
expect_text "no chat template" "$work/last.log"

expect_code 0 "$troupe" run configs/tinystories_gsm8k_cpu.cfg --run-dir "$work/run" --model.path "$model" --data.train "$work/train.jsonl" \
  --data.eval "$work/train.jsonl" --data.prompt model --run.steps 1 --eval.prompts 2
audit "$work/run" >/dev/null
