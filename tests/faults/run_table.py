#!/usr/bin/env python3
"""The fault table: each scenario harms runs of tiny.cfg on purpose and holds them against an undisturbed one.

    run_table.py TROUPE_FAULTY FAULT_POINTS [--long] [--only TEXT] [--jobs N]

Prints what was done, how often, groups lost, groups trained twice, whether the run ended in the same bits, and how long it took.
TROUPE_FAULT_SEED repeats the random moments, TROUPE_TIME_SCALE stretches every deadline.
"""

import argparse
import concurrent.futures
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import bad_starts
import peers
import scenarios
import system_calls
from live import SCALE, Failure, Run


class Table:
    """Runs scenarios and keeps what came out. One thread at a time, but for `run`."""

    def __init__(self, bench):
        self.bench = bench
        self.rows = []
        self.failures = 0
        self.begin = time.monotonic()

    def run(self, scenario):
        """The scenario's row, and what failed or ""."""
        start = time.monotonic()
        failure = ""
        bench = self.bench.dealt_for(scenario.name)
        try:
            row = scenario.run(bench)
        except Failure as error:
            failure = str(error)
        except Exception:  # the other scenarios are still worth running
            failure = traceback.format_exc()
        finally:
            bench.end()  # a failed one must not slow the others down
        if failure:
            row = (scenario.count, "", "", "FAILED")
        return (scenario.name, *map(str, row), f"{time.monotonic() - start:.1f}"), failure

    def keep(self, row, failure):
        self.rows.append(row)
        self.failures += 1 if failure else 0
        print(" ".join(row) + (f"\n{failure}\n" if failure else ""), flush=True)

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
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at a time, of those that do not measure time")
    arguments = parser.parse_args()
    Run.program = arguments.program.resolve()
    points = subprocess.run([arguments.points.resolve()], capture_output=True, text=True, check=True).stdout.split()
    seed = int(os.environ.get("TROUPE_FAULT_SEED", random.randrange(2**31)))
    print(f"seed {seed} (TROUPE_FAULT_SEED repeats it), time scale {SCALE}", flush=True)

    rows = [*scenarios.table(points, arguments.long), *peers.table(), *(system_calls.table() if arguments.long else []), *bad_starts.table()]
    wanted = [row for row in rows if arguments.only in row.name]
    with tempfile.TemporaryDirectory(prefix="troupe-faults-") as folder:
        table = Table(scenarios.Bench(Path(folder), seed))
        try:
            table.bench.look_undisturbed()
            with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
                for done in concurrent.futures.as_completed([pool.submit(table.run, row) for row in wanted if not row.alone]):
                    table.keep(*done.result())
            for row in wanted:
                if row.alone:
                    table.keep(*table.run(row))
        finally:
            table.bench.end()
    table.show()
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
