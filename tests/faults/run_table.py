#!/usr/bin/env python3
"""The fault table: each scenario harms runs of tiny.cfg on purpose and holds them against an undisturbed one.

    run_table.py TROUPE_FAULTY FAULT_POINTS [--long] [--only TEXT]

Prints what was done, how often, groups lost, groups trained twice, whether the run ended in the same bits, and how long it took.
TROUPE_FAULT_SEED repeats the random moments, TROUPE_TIME_SCALE stretches every deadline.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import bad_starts
import scenarios
from live import SCALE, Failure, Run, expect


class Table:
    """Runs scenarios one after the other and keeps what came out."""

    def __init__(self, only):
        self.only = only
        self.rows = []
        self.failures = 0
        self.begin = time.monotonic()

    def run(self, name, work):
        """`work()` returns (how often, groups lost, groups trained twice, "yes" where the bits were compared and equal)."""
        if self.only and self.only not in name:
            return
        start = time.monotonic()
        try:
            row = work()
        except Exception as error:  # the other scenarios are still worth running
            self.failures += 1
            row = ("", "", "", "FAILED")
            print(f"FAILED {name}: {error if isinstance(error, Failure) else traceback.format_exc()}", flush=True)
        self.rows.append((name, *map(str, row), f"{time.monotonic() - start:.1f}"))
        print(" ".join(self.rows[-1]), flush=True)

    def show(self):
        head = ("what was done", "times", "lost", "twice", "bit-equal", "s")
        widths = [max(len(row[i]) for row in [head, *self.rows]) for i in range(len(head))]
        print()
        for row in [head, *self.rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        print(f"{len(self.rows)} scenarios, {self.failures} failed, {time.monotonic() - self.begin:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("points", type=Path)
    parser.add_argument("--long", action="store_true", help="20 seeds of each point, 20 moments a lag, every system call of a save")
    parser.add_argument("--only", default="", help="only scenarios with this text in their names")
    arguments = parser.parse_args()
    Run.program = arguments.program.resolve()
    points = subprocess.run([arguments.points.resolve()], capture_output=True, text=True, check=True).stdout.split()
    seed = int(os.environ.get("TROUPE_FAULT_SEED", random.randrange(2**31)))
    print(f"seed {seed} (TROUPE_FAULT_SEED repeats it), time scale {SCALE}", flush=True)

    table = Table(arguments.only)
    with tempfile.TemporaryDirectory(prefix="troupe-faults-") as folder:
        bench = scenarios.Bench(Path(folder), random.Random(seed))
        try:
            for name, work in [*scenarios.table(bench, points, arguments.long), *bad_starts.table(Path(folder))]:
                table.run(name, work)
        finally:
            bench.end()
    table.show()
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
