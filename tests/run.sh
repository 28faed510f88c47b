#!/usr/bin/env bash
# Installs what is missing, builds everything, and runs every CPU test. Options go on to ctest:
#   ./tests/run.sh -L cpu        only the tests that take seconds
#   ./tests/run.sh -R loss -V    one of them, with its output
#   ./tests/run.sh -L fuzz       the parsers of foreign files against libFuzzer, a minute in all (clang++ is needed, and builds apart)
#   ./tests/run.sh --long        also the long fault table: 20 seeds of each fault point, 20 random moments a lag (hours)
set -euo pipefail
cd "$(dirname "$0")/.."

long=0
[ "${1:-}" = --long ] && { long=1; shift; }
./launch/setup.sh
./launch/build.sh build
PATH="$PATH:/usr/sbin" command -v slurmctld >/dev/null ||
  echo "tests: Slurm is not installed, so the tests of slurm/ will be skipped; ./launch/setup.sh --slurm gets it" >&2
ctest --test-dir build --output-on-failure --no-tests=error -LE gpu "$@"
if [ $long = 1 ]; then
  ./tests/faults/run_table.py build/tests/faults/troupe_faulty build/tests/faults/fault_points --long
fi
