#!/usr/bin/env bash
# mpi_scenario.sh MPIRUN PROGRAM SCENARIO: starts the ranks of one scenario; checks mpirun's code, the time and the words.
set -u
mpirun=$1 program=$2 scenario=$3

flags=(--oversubscribe)
[ "$(id -u)" = 0 ] && flags+=(--allow-run-as-root)
out=$(mktemp)
trap 'rm -f "$out"' EXIT

start=$(date +%s%N)
# start FLAG… RANKS: fills $rc, $ms and $out.
launch() {
  timeout -k 5 40 "$mpirun" "${flags[@]}" "$@" >"$out" 2>&1
  rc=$?
  ms=$((($(date +%s%N) - start) / 1000000))
}
failed() {
  echo "FAILED: $* (code $rc after $ms ms); output:"
  cat "$out"
  exit 1
}
ends_with() { [ "$rc" -eq "$1" ] || failed "expected code $1"; }
within_ms() { [ "$ms" -le "$1" ] || failed "expected an end within $1 ms"; }
says() { grep -qF -- "$1" "$out" || failed "expected to read: $1"; }
says_times() { [ "$(grep -cF -- "$2" "$out")" -eq "$1" ] || failed "expected to read $1 times: $2"; }

case $scenario in
  verbs_2 | verbs_3)
    n=${scenario#verbs_}
    launch -np "$n" "$program" verbs
    ends_with 0
    says_times "$n" "Status: SUCCESS!"
    ;;
  verbs_beside_others) # the one-line job: learners in the middle, other ranks that leave before and after them
    launch --enable-recovery -np 1 "$program" actor_short : -np 2 "$program" verbs : -np 2 "$program" actor_long
    ends_with 0
    says_times 2 "Status: SUCCESS!"
    says "learner 1 of 2"
    says "actor 1 of 2 leaves"
    ;;
  clean_end) # learners alone: mpirun must see a success, fast
    launch -np 2 "$program" clean_end
    ends_with 0
    within_ms 10000
    says_times 2 "learner leaves"
    ;;
  exit_code) # one learner leaves with 75: plain mpirun ends the others and hands the code on
    launch -np 3 "$program" exit_code
    ends_with 75
    within_ms 15000
    ;;
  silent_rank) # deadline 2 s
    launch -np 3 "$program" silent_rank
    ends_with 75
    within_ms 15000
    says "reduce_scatter_sum of gradient, sequence 2: nothing from rank 2 within 2."
    ;;
  killed_rank) # --enable-recovery keeps mpirun from hiding what the survivors do
    launch --enable-recovery -np 3 "$program" killed_rank
    within_ms 15000
    says "learner rank 0 of 3: reduce_scatter_sum of gradient, sequence 2: nothing from rank 2 within 2."
    says "learner rank 1 of 3: reduce_scatter_sum of gradient, sequence 2: nothing from rank 2 within 2."
    ;;
  killed_before_init) # start-up deadline 5 s; plain mpirun would end the rest itself
    launch --enable-recovery -np 2 "$program" killed_before_init
    within_ms 20000
    says "start-up of rank 0 of 2 has not ended within 5.0 s; it is in: MPI_Init"
    ;;
  other_operation)
    launch -np 2 "$program" other_operation
    ends_with 75
    within_ms 15000
    says "does something else: sequence 2, "
    ;;
  *)
    echo "unknown scenario $scenario"
    exit 2
    ;;
esac
echo "$scenario: ok, code $rc after $ms ms"
