# One node: a whole run as one job; an array of actors joins it while it runs, and one of them is cancelled; SIGUSR1 stops the job,
# which ends with 75 within its grace time. Submitted again it resumes and ends in the hash of an undisturbed run.
. "$(dirname "$0")/common.sh"

run="$work/run"
recipe=(configs/smoke.cfg --run.steps 120 --checkpoint.every 500)
expect_code 0 "$troupe" run "${recipe[@]}" --run-dir "$work/undisturbed"
expected="$(audit "$work/undisturbed")"

start_cluster 8 n1
export TROUPE="$troupe"
recipe=(configs/smoke.cfg "$run" "${recipe[@]:1}")
job="$(submit --no-requeue --ntasks=4 slurm/all_roles.sbatch "${recipe[@]}")"
joined() { grep -q "actor $1 .* joined" "$work/job-$job.log"; }
wait_for 30 "the first step" steps_in "$run" 1
array="$(submit --array=5-6 slurm/actors.sbatch "${recipe[@]}")"
wait_for 30 "the array's actors to join" joined 5
wait_for 30 "the array's actors to join" joined 6
scancel "${array}_5"
wait_for 10 "the hub to hear that an actor leaves" grep -q "actor 5 .* leaves: stopped by a signal" "$work/job-$job.log"
wait_for 10 "the cancelled actor's end" in_state "${array}_5" CANCELLED

scancel -s USR1 -b "$job"
ends "$job" 30 75
steps_in "$run" 120 && fail "the run was over before it was stopped"
compgen -G "$run/checkpoints/step-*/DONE" >/dev/null || fail "the stopped job left no checkpoint"
stopped=$job

job="$(submit --no-requeue --ntasks=4 slurm/all_roles.sbatch "${recipe[@]}")"
ends "$job" 60 0
in_state "${array}_5" CANCELLED || fail "the cancelled actor is $(state_of "${array}_5") when its neighbour has been requeued"
wait_for 60 "the array's other actor to end with the run" no_jobs
[ "$(audit "$run")" = "$expected" ] || fail "the run of jobs $stopped and $job ended in another hash"
expect_text '"attempts": 2' "$run/summary.json"
