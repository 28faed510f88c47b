# SIGKILL of every process of a run at a random moment: the same command resumes and ends in the hash of an undisturbed run.
. "$(dirname "$0")/../end_to_end/common.sh"

RANDOM="${TROUPE_FAULT_SEED:-$$}"
echo "seed $RANDOM (set TROUPE_FAULT_SEED to repeat)"
recipe=(configs/smoke.cfg --run.steps 16 --checkpoint.every 5)

expect_code 0 "$troupe" run "${recipe[@]}" --run-dir "$work/undisturbed"
expected="$(audit "$work/undisturbed")"

for attempt in 1 2 3; do
  run="$work/run-$attempt"
  "$troupe" run "${recipe[@]}" --run-dir "$run" >"$work/killed-$attempt.log" 2>&1 &
  supervisor=$!
  children+=($supervisor)
  wait_for 30 "the first steps" steps_in "$run" $((RANDOM % 12 + 1))
  sleep "0.0$((RANDOM % 9))"
  pkill -KILL -f -- "--run-dir $run"
  wait $supervisor 2>/dev/null
  expect_code 0 "$troupe" run "${recipe[@]}" --run-dir "$run"
  [ "$(audit "$run")" = "$expected" ] || fail "attempt $attempt: the resumed run ended in another hash"
  expect_text '"steps": 16' "$run/summary.json"
done
