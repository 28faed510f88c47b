# `troupe inspect` on a run that goes on, one that was killed, and a finished one: at a glance, a group's life, the audit, and the
# pruning of old logs, after which audit and resume still work.
. "$(dirname "$0")/common.sh"

run="$work/run"
recipe=(configs/smoke.cfg --run-dir "$run" --checkpoint.every 4)
steps=28

# Alive (and waiting for its rewarder, which is stopped): everything but the pruning works, and changes nothing.
with_fault rewarder.task:rewarder0:90:stop "$troupe" run "${recipe[@]}" --run.steps $steps >"$work/live.log" 2>&1 &
supervisor=$!
children+=($supervisor)
wait_for 60 "the rewarder to stop" test -e "$work/fault"
wait_for 60 "five steps" steps_in "$run" 5
expect_code 0 "$troupe" inspect "$run"
expect_text ", running" "$work/last.log"
expect_code 0 "$troupe" inspect "$run" --json
expect_code 0 "$troupe" inspect "$run" --group 3
expect_code 0 "$troupe" inspect "$run" --audit
expect_text "I6  not checked" "$work/last.log"
expect_code 2 "$troupe" inspect "$run" --prune 3
expect_text "is in use by pid" "$work/last.log"
learners="$(sed 's/.*"pid":\([0-9]*\).*/\1/' "$run/hub.json")"
kill -0 "$learners" || fail "the run ended while it was inspected"

# Killed.
pkill -KILL -f -- "--run-dir $run"
wait $supervisor 2>/dev/null
expect_code 0 "$troupe" inspect "$run"
expect_text "interrupted; the same command resumes" "$work/last.log"
audit "$run" >/dev/null
expect_code 0 "$troupe" run "${recipe[@]}" --run.steps $steps
hash="$(audit "$run")"
[ ${#hash} = 32 ] || fail "the audit's final_hash is '$hash'"
for invariant in I1 I2 I3 I4 I5 I6 I7; do expect_text "$invariant  holds" "$work/last.log"; done
expect_text "I8  not checked" "$work/last.log"

# A group's life, for people and for machines.
expect_code 0 "$troupe" inspect "$run" --group 3
expect_text "group 3: trained at step 1" "$work/last.log"
expect_text "--- sample 3: reward" "$work/last.log"
"$troupe" inspect "$run" --group 3 --json >"$work/group.json" || fail "--group --json"
"$troupe" inspect "$run" --group 2 --evaluation 0 --json >"$work/row.json" || fail "--evaluation --json"
"$troupe" inspect "$run" --audit --json >"$work/audit.json" || fail "--audit --json"
"$troupe" inspect "$run" --json >"$work/run.json" || fail "--json"
python3 - "$work" "$hash" <<'PYTHON' || fail "the JSON does not say what it should"
import json, sys
work, final_hash = sys.argv[1:]
group, row, audit, run = (json.load(open(f"{work}/{name}.json")) for name in ("group", "row", "audit", "run"))
events = [entry["event"] for entry in group["life"]]
assert events[:5] == ["leased", "rolled_out", "scored", "chosen", "trained"], events
for entry in group["life"][:3]:
    assert entry["at"].startswith("20") and entry["at"].endswith("Z"), entry
assert group["life"][0]["to"].startswith("actor ") and group["life"][2]["by"].startswith("rewarder "), events
assert [entry["at"] for entry in group["life"][:3]] == sorted(entry["at"] for entry in group["life"][:3])
assert group["prompt"] == group["row"]["question"], group["prompt"]
assert len(group["completions"]) == 4
rewards = [completion["reward"] for completion in group["completions"]]
assert abs(sum(completion["advantage"] for completion in group["completions"])) < 1e-9
best = max(group["completions"], key=lambda completion: completion["reward"])
assert (best["advantage"] > 0) == (max(rewards) > min(rewards)), rewards
for completion in group["completions"]:
    assert completion["versions"] == [{"from": 0, "to": completion["tokens"] - 1, "version": 0}], completion["versions"]
    parts = {name: component["value"] for name, component in completion["components"].items()}
    assert abs(parts["accuracy"] + 0.2 * parts["format"] + 0.1 * parts["tags"] - completion["reward"]) < 1e-9, completion
assert row["purpose"] == "evaluate" and row["state"] == "evaluated" and len(row["completions"]) == 1, row
assert audit["final_hash"] == final_hash == run["final_hash"] and audit["problems"] == []
assert audit["invariants"]["I3"]["state"] == "holds" and run["condition"] == "finished" and run["not_learning"] == []
PYTHON
expect_code 2 "$troupe" inspect "$run" --group 100000
expect_text "leased were 0 to" "$work/last.log"
expect_code 2 "$troupe" inspect "$run" --group 0 --evaluation 999
expect_text "evaluated versions are 0 (rows 0 to 15)" "$work/last.log"

# Pruning: only what a kept checkpoint covers; then audit and resume still work, and what is gone is said to be pruned.
expect_code 2 "$troupe" inspect "$run" --prune $((steps + 2))
expect_text "expected a whole checkpoint of step $((steps + 1)) or later" "$work/last.log"
files="$(ls "$run/rollouts" | wc -l)"
expect_code 0 "$troupe" inspect "$run" --prune 5
[ "$(ls "$run/rollouts" | wc -l)" -lt "$files" ] || fail "nothing was pruned"
[ "$(audit "$run")" = "$hash" ] || fail "the audit after pruning prints another hash"
expect_text "pruned and not checked" "$work/last.log"
expect_code 0 "$troupe" inspect "$run" --group 3
expect_text "its completions are pruned" "$work/last.log"
expect_code 0 "$troupe" run "${recipe[@]}" --run.steps $((steps + 2))
audit "$run" >/dev/null
rm "$(ls "$run"/rollouts/*.log | head -1)"
expect_code 1 "$troupe" inspect "$run" --audit
expect_text "PROBLEM I3" "$work/last.log"
