# What the scenarios of the supervised stages share.

hash_of() { sed -n 's/.*"final_hash": "\(.*\)".*/\1/p' "$1/summary.json"; }
held_out() { python3 -c 'import json, sys; s = json.load(open(sys.argv[1] + "/summary.json")); print(s["held_out_loss_before"], s["held_out_loss_after"])' "$1"; }

# killed_and_resumed NAME COMMAND … : the same command undisturbed in $work/NAME, and killed in $work/NAME-killed.
killed_and_resumed() {
  local name="$1"
  shift
  expect_code 0 "$@" --run-dir "$work/$name"
  # Killed as it would save step 9: the newest checkpoint is that of step 6.
  expect_code 137 with_fault checkpoint.begin:learner0:3:kill "$@" --run-dir "$work/$name-killed"
  steps_in "$work/$name-killed" 9 || fail "$name did not come to step 9"
  expect_code 0 "$@" --run-dir "$work/$name-killed"
  [ -n "$(hash_of "$work/$name")" ] || fail "$name has no final_hash"
  [ "$(hash_of "$work/$name")" = "$(hash_of "$work/$name-killed")" ] || fail "$name: the killed run ended in other bits"
  python3 - "$work/$name" "$work/$name-killed" <<'PYTHON' || fail "$name: the killed run's metrics differ"
import json, sys
times = ("step_s", "tokens_per_s", "collective_wait_s")
read = lambda run: [{k: v for k, v in json.loads(line).items() if k not in times} for line in open(run + "/metrics.jsonl")]
a, b = read(sys.argv[1]), read(sys.argv[2])
assert a == b and [line["step"] for line in a] == list(range(len(a))), (a, b)
before, after = (json.load(open(sys.argv[1] + "/summary.json"))["held_out_loss_" + when] for when in ("before", "after"))
assert after < before, (before, after)
PYTHON
}
