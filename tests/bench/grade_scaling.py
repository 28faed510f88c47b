#!/usr/bin/env python3
"""How `troupe grade` scales with verifier processes: rows a second, start-up included, on 1 process, 2, 4 … up to the machine's cores.

    tests/bench/grade_scaling.py [TROUPE]

Prints a JSON line for each kind and number: rows_per_s, rows_per_s_per_core (a second of a core that was busy, the machine's other work
included, so run it alone), and ratio to one process, whose bound is the number of processes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

PROGRAM = "def add(a, b):\n    return a + b\n"
TESTS = ["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 5) == 5"]
KINDS = {
    "code": (400, lambda i: {"question": "?", "test_list": TESTS, "completion": PROGRAM if i % 2 else PROGRAM.replace("+", "-")}),
    "math": (200000, lambda i: {"question": "?", "gold": f"\\frac{{{i}}}{{7}}", "completion": f"It is \\boxed{{\\dfrac{{{i + 1 - i % 2}}}{{7}}}}."}),
}


def busy_s():
    """Seconds that the machine's cores have worked."""
    ticks = [int(field) for field in open("/proc/stat").readline().split()[1:]]
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")


def main():
    troupe = sys.argv[1] if len(sys.argv) > 1 else "build/troupe"
    cores = len(os.sched_getaffinity(0))
    counts = sorted({2**i for i in range(cores.bit_length())} | {cores})
    with tempfile.TemporaryDirectory() as folder:
        for kind, (rows, row) in KINDS.items():
            with open(f"{folder}/rows.jsonl", "w") as out:
                out.writelines(json.dumps(row(i)) + "\n" for i in range(rows))
            rate_of_one = 0
            for count in (n for n in counts if n <= cores):
                busy, start = busy_s(), time.monotonic()
                subprocess.run([troupe, "grade", "--reward", kind, "--in", f"{folder}/rows.jsonl", "--out", f"{folder}/out.jsonl", "--jobs", str(count)],
                               check=True, stderr=subprocess.DEVNULL)
                wall, worked = time.monotonic() - start, busy_s() - busy
                values = [json.loads(line)["reward"] for line in open(f"{folder}/out.jsonl")]
                assert values == [float(i % 2) for i in range(rows)], "the grades are wrong"
                rate_of_one = rate_of_one or rows / wall
                print(json.dumps({"bench": "grade_scaling", "kind": kind, "rows": rows, "processes": count, "cores": cores, "rows_per_s": round(rows / wall, 1),
                                  "rows_per_s_per_core": round(rows / worked, 1), "ratio": round(rows / wall / rate_of_one, 2)}), flush=True)


main()
