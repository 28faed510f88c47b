# Two nodes: a learner on each of them, actors of an array on the second, a rewarder by hand. SIGUSR1 stops the learners, who write
# a checkpoint and are requeued; the actors leave, are requeued too and join the new attempt. A rank of that is killed, and the job
# is requeued again. The hash is that of an undisturbed run.
. "$(dirname "$0")/common.sh"

run="$work/run"
recipe=(configs/smoke.cfg --run.steps 120 --checkpoint.every 500)
expect_code 0 "$troupe" run "${recipe[@]}" --run-dir "$work/undisturbed"
expected="$(audit "$work/undisturbed")"

start_cluster 4 n1 n2
export TROUPE="$troupe"
recipe=(configs/smoke.cfg "$run" "${recipe[@]:1}" --deadline.collective_s 3)
# Where the kernel allows it each node has a host name of its own, and the hub listens beyond loopback: then the actors of another
# node than the hub's have the weights from its stream, not from shared memory.
hub_host="$(hostname)"
address="$(hostname -I | tr ' ' '\n' | grep -m1 -F .)"
if [ -n "$address" ] && unshare --uts true; then
  hub_host=n1
  cat >"$work/troupe" <<WRAPPER
#!/bin/sh
exec unshare --uts sh -c 'hostname "\$SLURMD_NODENAME"; exec "\$0" "\$@"' "$troupe" "\$@"
WRAPPER
  chmod +x "$work/troupe"
  export TROUPE="$work/troupe"
  recipe+=(--hub.bind "tcp://$address:*" --hub.insecure true)
fi
job="$(TROUPE_REWARDERS=0 submit --ntasks=2 --nodes=2 --ntasks-per-node=1 slurm/learners.sbatch "${recipe[@]}")"
log="$work/job-$job.log"
submit --array=0-1 --nodelist=n2 slurm/actors.sbatch "${recipe[@]}" >"$work/array"
until SLURMD_NODENAME=n2 "$TROUPE" rewarder "${recipe[0]}" --run-dir "$run"; do [ $? = 75 ] || break; done >"$work/rewarder.log" 2>&1 &
children+=($!)
wait_for 60 "three steps" steps_in "$run" 3
expect_text "\"host\":\"$hub_host\"" "$run/hub.json"

scancel -s USR1 -b "$job"
wait_for 30 "the learners to stop" grep -q "stopped after step" "$log"
steps_in "$run" 120 && fail "the run was over before it was stopped"
compgen -G "$run/checkpoints/step-*/DONE" >/dev/null || fail "the stopped learners left no checkpoint"

rank="learner 1 .* pid \([0-9]*\) joined"
ranks() { [ "$(grep -c "$rank" "$log")" = "$1" ]; }
wait_for 60 "the second attempt" ranks 2
goal=$(($(wc -l <"$run/metrics.jsonl") + 3))
wait_for 60 "step $goal" steps_in "$run" $goal
kill -KILL "$(sed -n "s/.*$rank.*/\1/p" "$log" | tail -n 1)"
ends "$job" 90 0
scontrol show job "$job" >"$work/last.log"
expect_text "Restarts=2" "$work/last.log"
wait_for 60 "the actors to end with the run" no_jobs
[ "$(audit "$run")" = "$expected" ] || fail "the run of job $job ended in another hash"
expect_text '"attempts": 3' "$run/summary.json"
