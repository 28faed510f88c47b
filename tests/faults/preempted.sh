# Preemption: SIGTERM, SIGUSR1 and SIGINT to `troupe run`, SIGUSR1 to mpirun and to one rank alone end an attempt within its grace
# time, with a checkpoint and exit code 75, and the same command resumes to the hash of an undisturbed run. A second SIGINT does not
# wait; a cold start and a wait for the hub end as well.
. "$(dirname "$0")/../end_to_end/common.sh"

grace_s=30
recipe=(configs/smoke.cfg --run.steps 60 --checkpoint.every 500)
expect_code 0 "$troupe" run "${recipe[@]}" --run-dir "$work/undisturbed"
expected="$(audit "$work/undisturbed")"
run="$work/run"

# stops SECONDS PID: it ends with 75 in this time.
stops() {
  wait_for "$1" "process $2 to stop" gone "$2"
  wait "$2"
  local code=$?
  [ $code = 75 ] || fail "exit code $code instead of 75"
}
gone() { ! kill -0 "$1" || grep -q "^State:.Z" "/proc/$1/status"; }
steps() { cat "$run/metrics.jsonl" 2>/dev/null | wc -l; }
checkpointed() { [ -s "$run/checkpoints/step-$(steps)/DONE" ] || fail "no checkpoint of step $(steps), the last one trained"; }

for signal in TERM USR1 INT; do
  goal=$(($(steps) + 3))
  "$troupe" run "${recipe[@]}" --run-dir "$run" >>"$work/run.log" 2>&1 &
  children+=($!)
  wait_for 60 "step $goal" steps_in "$run" $goal
  kill -$signal $!
  stops $grace_s $!
  checkpointed
done
expect_code 0 "$troupe" run "${recipe[@]}" --run-dir "$run"
[ "$(audit "$run")" = "$expected" ] || fail "the run that was stopped by three signals ended in another hash"
expect_text '"attempts": 4' "$run/summary.json"

# Learners under mpirun, with an actor and a rewarder by hand: first mpirun is told, then rank 1 alone, then nobody.
run="$work/job"
plain=()
for flag in "${mpirun_flags[@]}"; do [ "$flag" = --enable-recovery ] || plain+=("$flag"); done
for told in mpirun rank none; do
  goal=$(($(steps) + 3))
  mpirun "${plain[@]}" -np 2 "$troupe" learner "${recipe[@]}" --run-dir "$run" >"$work/job.log" 2>&1 &
  job=$!
  "$troupe" actor "${recipe[@]}" --run-dir "$run" >"$work/actor.log" 2>&1 &
  actor=$!
  "$troupe" rewarder "${recipe[@]}" --run-dir "$run" >"$work/rewarder.log" 2>&1 &
  rewarder=$!
  children+=("$job" "$actor" "$rewarder")
  [ $told = none ] && break
  wait_for 60 "step $goal" steps_in "$run" $goal
  rank="$(sed -n 's/.*learner 1 .* pid \([0-9]*\) joined.*/\1/p' "$work/job.log")"
  if [ $told = rank ]; then kill -USR1 "$rank"; else kill -USR1 $job; fi
  stops $grace_s $job
  stops 10 $actor
  stops 10 $rewarder
  checkpointed
done
wait $job || fail "the resumed job ended with $?"
wait $actor || fail "its actor ended with $?"
[ "$(audit "$run")" = "$expected" ] || fail "the mpirun job that was stopped twice ended in another hash"

# A learner that does not answer: the first SIGINT waits for it, the second one does not.
run="$work/stuck"
"$troupe" run "${recipe[@]}" --run-dir "$run" --learners.count 1 >"$work/stuck.log" 2>&1 &
supervisor=$!
children+=($supervisor)
wait_for 60 "the first step" steps_in "$run" 1
learner="$(sed 's/.*"pid":\([0-9]*\).*/\1/' "$run/hub.json")"
children+=("$learner")
kill -STOP "$learner"
kill -INT $supervisor
sleep 1
gone $supervisor && fail "the first SIGINT did not wait for the learner"
kill -INT $supervisor
stops 1 $supervisor
wait_for $grace_s "the learner to follow" gone "$learner"

run="$work/cold"
"$troupe" run "${recipe[@]}" --run-dir "$run" --cold_start.steps 1000000 >"$work/cold.log" 2>&1 &
children+=($!)
wait_for 60 "the cold start" grep -q "cold start: step 20/" "$work/cold.log"
kill -TERM $!
stops 10 $!

"$troupe" actor "${recipe[@]}" --run-dir "$work/nowhere" >"$work/actor.log" 2>&1 &
children+=($!)
handles_term() { [ $((0x$(sed -n 's/^SigCgt:\s*//p' "/proc/$1/status") >> 14 & 1)) = 1 ]; }
wait_for 20 "the actor's signal handlers" handles_term $!
kill -TERM $!
stops 5 $!
expect_text "stopped by a signal while waiting for $work/nowhere/hub.json" "$work/actor.log"
