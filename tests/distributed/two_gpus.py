#!/usr/bin/env python3
"""Learners and actors on the GPUs of one machine: weights over NCCL, and what becomes of a run when one of them is killed.

    two_gpus.py TROUPE TROUPE_FAULTY [WEIGHTS_BENCH] [--only NAME]

Needs two GPUs, of which the learner takes the first and the actor the second. Each scenario runs configs/quickstart.cfg in bf16 and is
held against the first: the same final_hash, or it failed. Prints one JSON line each; the exit code is 1 where a promise did not hold.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/quickstart.cfg"
HEARTBEAT_S = 3
COMMON = {"model.dtype": "bf16", "run.seed": 2, "deadline.heartbeat_s": HEARTBEAT_S, "deadline.lease_s": 6, "deadline.collective_s": 10,
          "deadline.reconnect_s": 20, "learners.threads": 4}
PATIENCE_S = 150


class Failure(Exception):
    """A promise that did not hold."""


def expect(holds, message):
    if not holds:
        raise Failure(message)


def words(folder, **options):
    given = {**COMMON, **{key.replace("__", "."): value for key, value in options.items()}}
    return [str(CONFIG), "--run-dir", str(folder), *(word for key, value in given.items() for word in (f"--{key}", str(value)))]


class Run:
    """A run directory and the one process that starts all others."""

    def __init__(self, folder, command, fault=""):
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.mark = folder.with_suffix(".mark")
        environment = {**os.environ, "TROUPE_FAULT": fault, "TROUPE_FAULT_MARK": str(self.mark)} if fault else os.environ
        self.start = time.monotonic()
        self.child = subprocess.Popen(command, stdout=self.log.open("w"), stderr=subprocess.STDOUT, env=environment, cwd=ROOT,
                                      start_new_session=True)

    def text(self):
        return self.log.read_text(errors="replace")

    def metrics(self):
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self):
        try:
            code = self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"not done after {PATIENCE_S} s:\n{self.text()[-3000:]}") from None
        finally:
            if self.child.poll() is None:
                os.killpg(self.child.pid, signal.SIGKILL)
        return code

    def result(self):
        """What the finished run came to. Where mpirun started it its own code means nothing."""
        self.wait()
        path = self.folder / "summary.json"
        expect(path.exists(), f"the run did not finish:\n{self.text()[-3000:]}")
        summary, metrics = json.loads(path.read_text()), self.metrics()
        middle = sorted(line["step_s"] for line in metrics)[len(metrics) // 2]
        stalls = sorted(line["weights_stall_s"] for line in metrics)
        groups = re.findall(r"weights go to (.*) by NCCL", self.text())
        return {"steps": summary["steps"], "wall_s": round(time.monotonic() - self.start, 1), "final_hash": summary["final_hash"],
                "accuracy": [summary["accuracy_before"], summary["accuracy_after"]], "reward": [metrics[0]["reward"], metrics[-1]["reward"]],
                "step_s": middle, "publish_s": sorted(line["publish_s"] for line in metrics)[len(metrics) // 2],
                "stall_share": stalls[len(stalls) // 2] / middle, "stall_share_max": stalls[-1] / middle, "nccl_groups": len(groups)}


def nobody_left():
    """No process computes on a GPU any more; drivers need a moment to notice."""
    for _ in range(50):
        found = subprocess.run(["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"], capture_output=True, text=True, check=True)
        if not found.stdout.strip():
            return True
        time.sleep(0.2)
    return False


class Bench:
    def __init__(self, arguments, folder):
        self.troupe, self.faulty, self.bench = arguments.troupe.resolve(), arguments.faulty.resolve(), arguments.bench
        self.folder = folder
        self.final_hash = None

    def supervised(self, name, program=None, fault="", **options):
        folder = self.folder / name
        counts = {"learners__count": 1, "actors__count": 1, **options}
        return Run(folder, [str(program or self.troupe), "run", *words(folder, **counts)], fault)

    def same(self, result):
        self.final_hash = self.final_hash or result["final_hash"]
        expect(result["final_hash"] == self.final_hash, f"final_hash {result['final_hash']}, expected {self.final_hash}")
        expect(nobody_left(), "a process is left on a GPU")
        return result


def job(bench):
    """One mpirun job: weights go over NCCL, the run learns."""
    folder = bench.folder / "job"
    parts = []
    for role in ("learner", "actor", "rewarder"):
        parts += [":"] * bool(parts) + ["-np", "1", str(bench.troupe), role, *words(folder)]
    result = Run(folder, ["mpirun", "--allow-run-as-root", "--oversubscribe", "--enable-recovery", *parts]).result()
    expect(result["nccl_groups"] >= 1, "no weights went by NCCL")
    expect(result["accuracy"][1] > result["accuracy"][0] + 0.2, f"the run did not learn: {result['accuracy']}")
    return bench.same(result)


def by_shared_memory(bench):
    """The same bits without NCCL."""
    result = bench.supervised("shm", actors__weights="shm").result()
    expect(result["nccl_groups"] == 0, "weights went by NCCL")
    return bench.same(result)


def actor_killed(bench):
    """kill -9 of the actor as rank 0 broadcasts to it: that ends within the deadline (such small weights even fit NCCL's buffers), and
    the actor that comes instead joins a new group."""
    run = bench.supervised("actor", bench.faulty, "actor.weights.inside:actor0:60:kill")
    result = run.result()
    expect(run.mark.exists(), "the actor was not killed")
    expect(result["nccl_groups"] >= 2, "no second group was made")
    longest = max(line["publish_s"] for line in run.metrics())
    expect(longest <= HEARTBEAT_S + 1, f"a broadcast took {longest} s, the deadline is {HEARTBEAT_S}")
    result["longest_publish_s"] = longest
    return bench.same(result)


def learner_killed_publishing(bench):
    """The learner dies between the announcement of a version and its end: the actor is not held, the run goes on."""
    run = bench.supervised("publishing", bench.faulty, "publish.inside:learner0:60:kill")
    result = run.result()
    expect(run.mark.exists(), "the learner was not killed")
    return bench.same(result)


def learner_killed_in_a_step(bench):
    """kill -9 of the second of two learners as the first is in NCCL with it, some 30 steps behind the cold start, whose 600 updates meet
    twice each: the supervisor names it and starts both again."""
    run = bench.supervised("learners", bench.faulty, "collective.nccl:learner1:1261:kill", learners__count=2)
    result = run.result()
    expect(run.mark.exists(), "the learner was not killed")
    said = re.search(r"a learner .*: starting them again", run.text())
    expect(said, f"the learners were not started again:\n{run.text()[-3000:]}")
    result["said"] = said[0]
    expect(nobody_left(), "a process is left on a GPU")
    return result  # two learners add in another order: other bits than one


def weights(bench):
    """The paths alone, at the shape of Qwen2.5-0.5B."""
    done = subprocess.run([bench.bench, "--versions", "8"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    print(done.stdout, end="", flush=True)
    expect(done.returncode == 0, done.stderr[-2000:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("troupe", type=Path)
    parser.add_argument("faulty", type=Path)
    parser.add_argument("bench", type=Path, nargs="?")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="troupe-gpus-") as folder:
        bench = Bench(arguments, Path(folder))
        scenarios = [job, by_shared_memory, actor_killed, learner_killed_publishing, learner_killed_in_a_step] + [weights] * bool(bench.bench)
        for scenario in scenarios:
            if arguments.only not in scenario.__name__:
                continue
            try:
                result = scenario(bench)
            except Failure as failure:
                result, failed = {"failed": str(failure)}, failed + 1
            if result:
                print(json.dumps({"bench": "two_gpus", "scenario": scenario.__name__, **result}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
