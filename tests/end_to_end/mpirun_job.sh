# The one-line mpirun job of the README gives the run that `troupe run` gives, and an actor started by hand joins in.
. "$(dirname "$0")/common.sh"

expect_code 0 "$troupe" run configs/smoke.cfg --run-dir "$work/supervised"
expected="$(audit "$work/supervised")"

run="$work/job"
mpirun "${mpirun_flags[@]}" -np 2 "$troupe" learner configs/smoke.cfg --run-dir "$run" : \
  -np 2 "$troupe" actor configs/smoke.cfg --run-dir "$run" : -np 1 "$troupe" rewarder configs/smoke.cfg --run-dir "$run" \
  >"$work/job.log" 2>&1
[ "$(audit "$run")" = "$expected" ] || fail "the mpirun job ended in another hash than troupe run"

# No actor in the job: the learners say so and wait; one started by hand, knowing only the endpoint, does all the work.
run="$work/late"
mpirun "${mpirun_flags[@]}" -np 2 "$troupe" learner configs/smoke.cfg --run-dir "$run" : \
  -np 1 "$troupe" rewarder configs/smoke.cfg --run-dir "$run" >"$work/late.log" 2>&1 &
job=$!
children+=($job)
wait_for 30 "hub.json" test -s "$run/hub.json"
wait_for 30 "the learners to say what they wait for" grep -q "no actor is connected" "$work/late.log"
endpoint="$(sed 's/.*"endpoint":"\([^"]*\)".*/\1/' "$run/hub.json")"
"$troupe" actor configs/smoke.cfg --hub "$endpoint" >"$work/actor.log" 2>&1 &
actor=$!
children+=($actor)
wait $actor || fail "the late actor ended with $?"
wait $job
[ "$(audit "$run")" = "$expected" ] || fail "the late actor's run ended in another hash"
