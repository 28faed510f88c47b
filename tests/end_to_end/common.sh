# Shared by the end-to-end scenarios: a scratch folder that is removed, children that are ended, and checks that say what failed.
set -u
troupe="$1"
source_dir="$2"
faulty="${3:-}"  # the same program with the fault points of common/base/fault.h
work="$(mktemp -d "${TMPDIR:-/tmp}/troupe-e2e-XXXXXX")"
children=()
cd "$source_dir" || exit 1

finish() {
  local code=$?
  for pid in "${children[@]:-}"; do [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null; done
  [ $code = 0 ] || { echo "--- logs of the failed scenario"; tail -n 15 "$work"/*.log "$work"/*/logs/*.log 2>/dev/null; }
  rm -rf "$work"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect_code CODE command …: its output goes to $work/last.log.
expect_code() {
  local expected="$1"
  shift
  "$@" >"$work/last.log" 2>&1
  local code=$?
  [ $code = "$expected" ] || { cat "$work/last.log" >&2; fail "exit code $code instead of $expected: $*"; }
}

# with_fault FAULT troupe …: the command under a fault of tests/faults/injection.h, at the same place whatever the machine's speed. It
# happens once; $work/fault tells that it did.
with_fault() {
  local fault="$1"
  shift 2
  rm -f "$work/fault"
  TROUPE_FAULT="$fault" TROUPE_FAULT_MARK="$work/fault" "$faulty" "$@"
}

expect_text() { grep -qF -- "$1" "$2" || { cat "$2" >&2; fail "'$1' is not in $2"; }; }

# wait_for SECONDS what command …: until the command holds.
wait_for() {
  local seconds="$1" what="$2"
  shift 2
  for ((i = 0; i < seconds * 10; ++i)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  fail "waited $seconds s for $what"
}

# Balanced ledger, and the hash that the audit prints.
audit() {
  expect_code 0 "$troupe" inspect "$1" --audit
  expect_text "the ledger balances" "$work/last.log"
  sed -n 's/^final_hash //p' "$work/last.log"
}

mpirun_flags=(--bind-to none --oversubscribe --enable-recovery)
[ "$(id -u)" = 0 ] && mpirun_flags+=(--allow-run-as-root)
steps_in() { [ "$(wc -l <"$1/metrics.jsonl" 2>/dev/null || echo 0)" -ge "$2" ]; }

# $work/rows.jsonl: 40 questions with their golds; $work/taught.jsonl: what a teacher says of them who is sometimes wrong, more often about every
# third question.
taught_rows() {
  python3 - "$work" <<'PYTHON'
import json, random, sys
random.seed(1)
gold = {n: (7 * n + 3) % 10 for n in range(40)}
with open(sys.argv[1] + "/rows.jsonl", "w") as rows, open(sys.argv[1] + "/taught.jsonl", "w") as taught:
    for n, answer in gold.items():
        rows.write(json.dumps({"question": f"{n}+0", "gold": str(answer)}) + "\n")
    for i in range(400):
        n = i % 40
        wrong = random.random() < (0.15 if n % 3 else 0.6)
        answer = (gold[n] + random.choice((5, 5, 2))) % 10 if wrong else gold[n]
        taught.write(json.dumps({"prompt": f"{n}+0", "completion": f"<think>{n}{random.choice(('', '+0'))}</think> <answer>{answer}</answer>"}) + "\n")
PYTHON
}
