# A GGUF file becomes a folder that every command takes: tokens, log-probabilities and greedy text of it, trained on for a step. A folder
# is rewritten as one file. Damaged and foreign files are refused with exit code 2 and a name.
. "$(dirname "$0")/common.sh"

gguf=tests/parity/gguf
expect_code 0 "$troupe" convert $gguf/qwen2.gguf "$work/model"
expect_text "qwen2, 2 layers, hidden 32, 448 tokens" "$work/last.log"
python3 - "$work" <<'PYTHON' || fail "the folder is not what the file describes"
import json, sys
work = sys.argv[1]
config = json.load(open(work + "/model/config.json"))
assert config["model_type"] == "qwen2" and config["eos_token_id"] == 401 and config["vocab_size"] == 448, config
golden = json.load(open("tests/parity/gguf/tokenizers.json"))["byte_level"]
open(work + "/texts.jsonl", "w").write("".join(json.dumps({"text": row["text"]}) + "\n" for row in golden))
open(work + "/prompts.jsonl", "w").write(json.dumps({"messages": [{"role": "user", "content": "Hi"}]}) + "\n")
PYTHON
expect_code 0 "$troupe" score --model "$work/model" --in "$work/texts.jsonl" --out "$work/scores.jsonl"
expect_code 0 "$troupe" generate --model "$work/model" --prompts "$work/prompts.jsonl" --out "$work/out.jsonl" --temperature 0 --max-tokens 8
expect_text '"prompt":"<|begin|>user: Hi<|end|>"' "$work/out.jsonl"

expect_code 0 "$troupe" convert "$work/model" "$work/again"
cmp "$work/model/model.safetensors" "$work/again/model.safetensors" || fail "a folder is not rewritten as it was"
expect_code 0 "$troupe" score --model "$work/again" --in "$work/texts.jsonl" --out "$work/again.jsonl"
cmp "$work/scores.jsonl" "$work/again.jsonl" || fail "the rewritten folder scores otherwise"
python3 - "$work" <<'PYTHON' || fail "the ids differ from Hugging Face's"
import json, sys
golden = json.load(open("tests/parity/gguf/tokenizers.json"))["byte_level"]
rows = [json.loads(line) for line in open(sys.argv[1] + "/scores.jsonl")]
assert [row["ids"] for row in rows] == [row["ids"] for row in golden], rows
PYTHON
expect_code 0 "$troupe" convert tests/parity/families/qwen2 "$work/bare"
expect_text "there is no tokenizer in tests/parity/families/qwen2" "$work/last.log"
[ -s "$work/bare/model.safetensors" ] || fail "shards without a tokenizer were not rewritten"

head -c 20000 $gguf/qwen2.gguf >"$work/cut.gguf"
expect_code 2 "$troupe" convert "$work/cut.gguf" "$work/cut"
expect_text "cut.gguf: cut short" "$work/last.log"
[ ! -e "$work/cut" ] || fail "a folder was made of a damaged file"
expect_code 2 "$troupe" convert README.md "$work/cut"
expect_text "README.md: not a GGUF file" "$work/last.log"
expect_code 2 "$troupe" convert "$work/none.gguf" "$work/cut"
expect_code 2 "$troupe" convert $gguf/types.gguf "$work/cut"
expect_text "general.architecture" "$work/last.log"
expect_code 2 "$troupe" convert $gguf/qwen2.gguf README.md
expect_text "README.md: expected a folder, found a file" "$work/last.log"
