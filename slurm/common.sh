# shellcheck shell=bash
# Sourced by the sbatch files: what a step is, what a signal does, and how a job ends. README.md beside it explains.
set -u
if [ $# -lt 2 ]; then
  echo "expected: sbatch FILE CONFIG RUN_DIR [--section.key value …], found: $*" >&2
  exit 2
fi
config="$1"
run_dir="$2"
shift 2
overrides=("$@")
troupe="${TROUPE:-build/troupe}"
hub=(--hub.bind 'tcp://*:*' --hub.insecure true)  # for learners: actors on other nodes must reach it; unless you say otherwise
# shellcheck disable=SC2034  # used where this is sourced
if grep -qs '^ *bind *=' "$config" || [[ "${overrides[*]}" == *--hub.[bi]* ]]; then hub=(); fi
job="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"  # the last task's own id means the whole array
job="${job:-$SLURM_JOB_ID}"
steps=()  # pids of the srun processes
told=""   # "to requeue" once SIGUSR1 has come, "to end" once SIGTERM has

# start ROLE COUNT [option of troupe …]: a step of its own, in the background; --exact leaves the other tasks' cores to the others.
start() {
  local role="$1" count="$2" how=(--mpi=none --kill-on-bad-exit=0 --wait=0)  # they come and go one by one
  [ "$role" != learner ] || how=(--mpi=pmix --kill-on-bad-exit=1)            # they stand and fall together
  shift 2
  srun --exact --nodes="1-$SLURM_JOB_NUM_NODES" --ntasks="$count" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${how[@]}" \
    "$troupe" "$role" "$config" --run-dir "$run_dir" "${overrides[@]}" "$@" &
  steps+=($!)
}

# srun hands SIGUSR1 on to its tasks, which then finish their step, write a checkpoint and exit 75.
stop_steps() {
  told="$1"
  kill -USR1 "${steps[@]}" 2>/dev/null
}
trap 'stop_steps "to requeue"' USR1  # --signal, before the time limit, or scancel -s USR1 -b
trap 'stop_steps "to end"' TERM      # scancel, the time limit, or a job that preempts this one: Slurm knows what follows

running() { [ "$(squeue --noheader --jobs="$job" --format=%T)" = RUNNING ]; }  # and not being cancelled

# finish PID: waits for this step, then for the others, which it has sent away, and ends the job: 0 done, 75 requeued or (after
# scancel, with --no-requeue, or after TROUPE_REQUEUES restarts) left to be submitted again, anything else failed.
finish() {
  local code
  while kill -0 "$1" 2>/dev/null; do wait "$1"; done  # a signal ends a wait
  wait "$1"
  code=$?
  for pid in "${steps[@]}"; do timeout 10 tail --pid="$pid" -f /dev/null; done
  if [ "$code" -ge 128 ]; then code=75; fi  # a task was killed: srun says so, and not the 75 of the others that missed it
  if [ "$code" = 75 ] && running; then
    if [ "$told" = "to requeue" ] || [ "${SLURM_RESTART_COUNT:-0}" -lt "${TROUPE_REQUEUES:-20}" ]; then
      scontrol requeue "$job" || echo "not requeued: submit the same command again, it resumes" >&2
    fi
  fi
  exit "$code"
}
