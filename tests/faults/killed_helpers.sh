# SIGKILL of actors and rewarders at random moments loses nothing: the run ends in the hash of an undisturbed one, supervised
# and under mpirun, and where none is left the learners wait for one that is started by hand. The seed is printed.
. "$(dirname "$0")/../end_to_end/common.sh"

RANDOM="${TROUPE_FAULT_SEED:-$$}"
echo "seed $RANDOM (set TROUPE_FAULT_SEED to repeat)"
long=(configs/smoke.cfg --run.steps 40 --checkpoint.every 40 --deadline.lease_s 3 --deadline.heartbeat_s 1.5)

expect_code 0 "$troupe" run "${long[@]}" --run-dir "$work/undisturbed"
expected="$(audit "$work/undisturbed")"

# Supervised: five kills, each of a random actor or rewarder of this run; others are started in their place.
"$troupe" run "${long[@]}" --run-dir "$work/run" >"$work/run.log" 2>&1 &
run=$!
children+=($run)
wait_for 30 "the first step" steps_in "$work/run" 1
kills=0
while kill -0 $run 2>/dev/null && [ $kills -lt 5 ]; do
  mapfile -t victims < <(pgrep -f -- "^[^ ]*troupe (actor|rewarder) .*--run-dir $work/run ")
  if [ ${#victims[@]} -gt 0 ]; then
    kill -KILL "${victims[RANDOM % ${#victims[@]}]}" && kills=$((kills + 1))
  fi
  sleep "0.$((RANDOM % 6 + 1))"
done
wait $run || fail "the supervised run ended with $?"
[ $kills -ge 2 ] || fail "only $kills processes could be killed before the run was over"
[ "$(audit "$work/run")" = "$expected" ] || fail "the run with $kills kills ended in another hash"

# Under mpirun the only actor dies; the learners wait and say for whom; one that is started by hand goes on.
run="$work/job"
mpirun "${mpirun_flags[@]}" -np 2 "$troupe" learner "${long[@]}" --run-dir "$run" : -np 1 "$troupe" actor "${long[@]}" --run-dir "$run" : \
  -np 1 "$troupe" rewarder "${long[@]}" --run-dir "$run" >"$work/job.log" 2>&1 &
job=$!
children+=($job)
wait_for 30 "the first step" steps_in "$run" 1
pkill -KILL -f -- "^[^ ]*troupe actor .*--run-dir $run" || fail "there was no actor to kill"
wait_for 30 "the learners to say what they wait for" grep -q "no actor is connected" "$work/job.log"
"$troupe" actor "${long[@]}" --run-dir "$run" >"$work/actor.log" 2>&1 || fail "the actor started by hand ended with $?"
wait $job
[ "$(audit "$run")" = "$expected" ] || fail "the job whose actor died ended in another hash"
