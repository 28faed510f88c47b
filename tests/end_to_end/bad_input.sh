# Wrong configurations, rows and models end with exit code 2 and a message that names what, where and what was expected.
. "$(dirname "$0")/common.sh"

refuses() {
  local text="$1"
  shift
  expect_code 2 "$troupe" "$@"
  expect_text "$text" "$work/last.log"
}
run=(run configs/smoke.cfg --run-dir "$work/run")

refuses "optimizer.lr" "${run[@]}" --optimizer.lrr 1
refuses "optimizer.lr" "${run[@]}" --optimizer.lr nan
refuses "sampling.top_p" "${run[@]}" --sampling.top_p 1.5
refuses "expected one of none, k1, k2" "${run[@]}" --loss.kl k4
refuses "no-such.cfg" run no-such.cfg
refuses "unknown command 'runn'" runn configs/smoke.cfg
refuses "task:addition3/nowhere" "${run[@]}" --data.train task:addition3/nowhere --learners.count 1

printf '{"question": "1+1=", "answer": "2"}\n{"question": 7}\n' >"$work/bad.jsonl"
refuses "bad.jsonl:2" "${run[@]}" --data.train "$work/bad.jsonl" --learners.count 1
printf '{"question": "1+1=", "answer": "2"}\n{"question": \n' >"$work/torn.jsonl"
refuses "torn.jsonl:2" "${run[@]}" --data.train "$work/torn.jsonl" --learners.count 1
# Rows that the rewards cannot grade: found by the supervisor, by a learner on its own and by the doctor.
printf '{"question": "1+1=", "answer": "2"}\n{"question": "12+21=", "solution": "33"}\n' >"$work/no_gold.jsonl"
no_gold=(configs/smoke.cfg --run-dir "$work/no_gold" --data.train "$work/no_gold.jsonl" --reward.accuracy.kind exact)
missing='no_gold.jsonl:2: [reward.accuracy]: a reward of kind exact expects an answer under "gold" or "answer", found the keys question, solution'
refuses "$missing" run "${no_gold[@]}"
refuses "$missing" learner "${no_gold[@]}"
expect_code 1 "$troupe" doctor "${no_gold[@]}"
expect_text "FAIL rows $work/no_gold.jsonl: $work/$missing" "$work/last.log"

mkdir "$work/model"
cp tests/data/tinystories-656k/* "$work/model"
head -c 1000000 tests/data/tinystories-656k/model.safetensors >"$work/model/model.safetensors"
echo '{"text": "Once"}' >"$work/in.jsonl"
refuses "model.safetensors" score --model "$work/model" --in "$work/in.jsonl" --out "$work/out.jsonl"
sed -i 's/LlamaForCausalLM/MambaForCausalLM/; s/"llama"/"mamba"/' "$work/model/config.json"
refuses "config.json" score --model "$work/model" --in "$work/in.jsonl" --out "$work/out.jsonl"
refuses "known are" grade --reward mathematics --in "$work/in.jsonl" --out "$work/out.jsonl"

# A row of generate that cannot be answered is refused by its place in the file, in the file of completions too, and the others are
# answered as without it; a command's own options are refused before anything is written.
model=tests/data/tinystories-656k
python3 - "$work" <<'PYTHON'
import json, sys
good = [{"prompt": f"Once {i}", "max_tokens": 4} for i in range(3)]
bad = [{"temperature": -1}, {"top_p": 2}, {"max_tokens": 10**12}, {"stop": "x" * 1000000}, {"seed": -1}, {"prompt": 7}, {"ids": []}, {"prompt": "a " * 1000}]
rows = [good[0], *({"prompt": "Once", **row} for row in bad), good[1], good[2]]
open(sys.argv[1] + "/rows.jsonl", "w").write("".join(json.dumps(row) + "\n" for row in rows))
open(sys.argv[1] + "/good.jsonl", "w").write("".join(json.dumps(row) + "\n" for row in good))
PYTHON
generate=(generate --model $model --prompts "$work/rows.jsonl" --out "$work/rows.out")
refuses "8 of 11 rows were refused: their lines in $work/rows.out say why" "${generate[@]}" --temperature 0 --samples 2
expect_text "refused: $work/rows.jsonl:5: request 4: sampling.stop_texts = a text of 1000000 bytes: expected 1 to 512" "$work/last.log"
[ ! -e "$work/rows.out.unfinished" ] || fail "a generation with refused rows is not complete"
expect_code 0 "$troupe" generate --model $model --prompts "$work/good.jsonl" --out "$work/good.out" --temperature 0 --samples 2
python3 - "$work" <<'PYTHON' || fail "refused rows"
import json, sys
work = sys.argv[1]
lines = open(work + "/rows.out").readlines()
assert lines[:2] + lines[18:] == open(work + "/good.out").readlines()
for i, line in enumerate(map(json.loads, lines[2:18])):
    assert set(line) == {"error", "sample"} and line["sample"] == i % 2, line
    assert line["error"].startswith(f"{work}/rows.jsonl:{2 + i // 2}: "), line
PYTHON
rm "$work/rows.out"
for option in "--seed -1" "--samples 0" "--samples 65537" "--top-p 2" "--temperature nan" "--kv-memory-gib nan" "--kv-memory-gib -1" \
  "--slots 65537" "--threads 1025" "--device tpu"; do
  # shellcheck disable=SC2086
  refuses "expected " "${generate[@]}" $option
  [ ! -e "$work/rows.out" ] || fail "a refused command wrote a file: $option"
done
cp "$work/good.jsonl" "$work/same.jsonl"
refuses "is the file of --prompts" generate --model $model --prompts "$work/same.jsonl" --out "$work/../$(basename "$work")/same.jsonl"
cmp "$work/good.jsonl" "$work/same.jsonl" || fail "the prompts were written over"
expect_code 75 "$troupe" generate --model $model --prompts "$work/good.jsonl" --out /dev/full
expect_text "/dev/full: writing failed (is the disk full?)" "$work/last.log"
# Standard output that goes to a file is written at its end; nothing is put under its name.
echo '{"text": "Once"}' >"$work/text.jsonl"
echo before >"$work/piped"
"$troupe" tokenize --model $model --in "$work/text.jsonl" --out /proc/self/fd/1 >>"$work/piped" 2>"$work/last.log" || fail "tokenize to standard output"
"$troupe" generate --model $model --prompts "$work/good.jsonl" --out /proc/self/fd/1 >>"$work/piped" 2>"$work/last.log" || fail "generate to standard output"
[ "$(head -n 1 "$work/piped")" = before ] && [ "$(wc -l <"$work/piped")" = 5 ] || fail "standard output was written over"

# Two runs in one directory: the second is refused at once, with the first one's pid.
"$troupe" run configs/smoke.cfg --run-dir "$work/one" --run.steps 500 --checkpoint.every 500 >"$work/one.log" 2>&1 &
first=$!
children+=($first)
wait_for 30 "the first run's hub" test -s "$work/one/hub.json"
expect_code 2 "$troupe" learner configs/smoke.cfg --run-dir "$work/one" --run.steps 500
expect_text "$(sed 's/.*"pid":\([0-9]*\).*/\1/' "$work/one/hub.json")" "$work/last.log"
wait_for 30 "two steps" steps_in "$work/one" 2
kill -INT $first
wait $first
[ $? = 75 ] || fail "an interrupted run did not end with 75"
ls "$work/one/checkpoints" | grep -q step- || fail "an interrupted run left no checkpoint"

# Where no sandbox can be made, programs are not run at all.
echo '{"question": "?", "test_list": ["assert f() == 1"], "completion": "def f(): return 1"}' >"$work/program.jsonl"
expect_code 2 unshare -Ur sh -c "echo 0 >/proc/sys/user/max_user_namespaces; '$troupe' grade --reward code --in '$work/program.jsonl' --out '$work/graded.jsonl'"
expect_text "code rewards need a sandbox, and this machine does not let" "$work/last.log"
[ ! -e "$work/graded.jsonl" ] || fail "a program was graded without a sandbox"
