# `troupe pipeline`: a model is trained, answers, its right answers train it further, and it answers better; killed in a stage the same command
# goes on there; mistakes are refused by name before anything runs. `troupe select`: what it keeps.
. "$(dirname "$0")/common.sh"

taught_rows
cat >"$work/stages.pipeline" <<PIPELINE
[stage.base]  # knows some answers
command = run configs/smoke.cfg --run.steps 1 --data.train $work/rows.jsonl --data.eval $work/rows.jsonl --cold_start.data $work/taught.jsonl \\
  --cold_start.steps 300 --cold_start.batch 16 --learners.count 1
[stage.answers]
command = eval --model {base} --config configs/smoke.cfg --data $work/rows.jsonl --samples 8 --temperature 1 --top-p 1
[stage.chosen]
command = select --in {answers}/graded.jsonl --reward 1 --least tags=1 --per-row 2
[stage.tuned]
command = sft configs/sft_answers_cpu.cfg --model.path {base.folder}/start --data.train {chosen} --data.eval {chosen} --run.steps 12 --checkpoint.every 4
ranks = 2
[stage.after]
command = eval --model {tuned} --config configs/smoke.cfg --data $work/rows.jsonl --samples 8 --temperature 1 --top-p 1
PIPELINE
pipeline=("$troupe" pipeline "$work/stages.pipeline" --run-dir "$work/whole")
expect_code 0 "${pipeline[@]}"
expect_text "stage 5/5 after: done in" "$work/last.log"
python3 - "$work/whole" "$work/rows.jsonl" <<'PYTHON' || fail "the pipeline did not do what it is for"
import json, sys
folder = sys.argv[1]
read = lambda path: [json.loads(line) for line in open(f"{folder}/{path}")]
before, after, chosen = (json.load(open(f"{folder}/{stage}/summary.json")) for stage in ("answers", "after", "chosen"))
assert after["pass@1"] > before["pass@1"] + 0.1, (before, after)
gold = {row["question"]: row["gold"] for row in map(json.loads, open(sys.argv[2]))}
graded, kept = read("answers/graded.jsonl"), read("chosen/rows.jsonl")
assert len(graded) == chosen["answers"] == 320 and len(kept) == chosen["kept"] > chosen["rows_kept"] > 20, chosen
assert all(row["completion"].endswith(f"<answer>{gold[row['prompt']]}</answer>") for row in kept), kept
expected = []
for question in gold:
    right = [line["completion"] for line in graded if line["prompt"] == question and line["components"]["accuracy"]["value"] == 1
             and line["reward"] >= 1 and line["components"]["tags"]["value"] == 1]
    expected += [{"prompt": question, "completion": text} for text in list(dict.fromkeys(right))[:2]]
assert kept == expected, (kept[:3], expected[:3])
PYTHON

# Again: nothing is left to do. With another pipeline there: refused.
expect_code 0 "${pipeline[@]}"
expect_text "stage 5/5 after: done before" "$work/last.log"
sed 's/--per-row 2/--per-row 1/' "$work/stages.pipeline" >"$work/other.pipeline"
expect_code 2 "$troupe" pipeline "$work/other.pipeline" --run-dir "$work/whole"
expect_text "chosen: this stage was begun as" "$work/last.log"

# Killed in the fourth stage, as it would save step 8.
killed=("$troupe" pipeline "$work/stages.pipeline" --run-dir "$work/killed")
expect_code 75 with_fault checkpoint.begin:learner0:2:kill "${killed[@]}"
expect_text "stage tuned" "$work/last.log"
expect_code 0 "${killed[@]}"
expect_text "stage 3/5 chosen: done before" "$work/last.log"
expect_text "step 5/12" "$work/last.log"
grep -q "step 4/12" "$work/last.log" && fail "the killed stage began anew"
for stage in answers after; do
  cmp <(grep -v '"model"' "$work/whole/$stage/summary.json") <(grep -v '"model"' "$work/killed/$stage/summary.json") || fail "$stage: another result after a kill"
done

# A stage that fails ends the pipeline with its own code and words.
printf '[stage.bad]\ncommand = sft configs/sft_answers_cpu.cfg --model.path /nowhere\n' >"$work/bad.pipeline"
expect_code 2 "$troupe" pipeline "$work/bad.pipeline" --run-dir "$work/bad"
expect_text "stage bad exited with code 2" "$work/last.log"
refused() {  # TEXT WORDS: a pipeline of this text ends with code 2 and says that
  printf '%b' "$1" >"$work/bad.pipeline"
  expect_code 2 "$troupe" pipeline "$work/bad.pipeline" --run-dir "$work/refused"
  expect_text "$2" "$work/last.log"
  [ ! -e "$work/refused" ] || fail "something was begun of: $1"
}
refused '[stage.a]\ncommand = juggle\n' "[stage.a]: command = juggle: expected one of pretrain, sft"
refused '[stage.a]\ncommand = sft x.cfg --model.path {b}\n[stage.b]\ncommand = sft y.cfg\n' "expected the name of an earlier stage in braces, found 'b'"
refused '[stage.a]\ncommand = sft x.cfg --run-dir elsewhere\n' "a pipeline gives each stage a folder of its own"
refused '[stage.a]\nranks = 2\ncommand = run x.cfg\n' "ranks = 2: expected 1 for \`run\`, which starts learners.count of them"
refused '[stage.a]\nranks = none\n' "ranks = none: expected a whole number from 1"
refused '[stage.a]\nspeed = 2\n' "unknown key speed: expected command or ranks"
refused '[stage.A]\ncommand = sft x\n' "NAME of a-z"
refused '[stage.a]\ncommand = sft x\n[stage.b]\ncommand = sft x\n[stage.a]\ncommand = sft y\n' "two stages of this name"
refused '' "expected sections [stage.NAME]"
expect_code 2 "$troupe" select --in "$work/whole/answers/graded.jsonl" --out "$work/none" --least juggling=1
expect_text "has no component juggling" "$work/last.log"
expect_code 2 "$troupe" select --in "$work/whole/answers/graded.jsonl" --out "$work/none" --reward 9
expect_text "none of its 320 answers" "$work/last.log"
