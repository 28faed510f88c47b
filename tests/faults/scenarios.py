"""Faults that a run must survive, or end of with the right words: F1 to F5, F16, F24 and F28 of the fault table."""

import copy
import json
import os
import random
import re
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from live import SCALE, Run, expect, wait_for

# Who gets to each fault point in every run, and up to which hit a fault is set there. The table names points that have no scenario.
LEADER = {
    "start.begin": 1, "start.end": 1, "learner.step.begin": 8, "learner.step.end": 8, "learner.forward": 8, "learner.backward": 8,
    "learner.optimizer": 8, "learner.updated": 8, "collective.begin": 60, "collective.inside": 60, "collective.end": 60,
    "checkpoint.begin": 2, "checkpoint.shard": 2, "checkpoint.export": 2, "checkpoint.rename": 2, "checkpoint.done": 2,
    "checkpoint.end": 2, "checkpoint.retire": 1, "file.write": 150, "file.fsync": 40, "file.rename": 10, "file.unlink": 3,
    "frame.inside": 150, "ledger.append.before": 100, "ledger.append.after": 100, "ledger.sync.before": 10, "ledger.sync.after": 10,
    "rollouts.append.before": 30, "rollouts.append.after": 30, "rollouts.sync.after": 8, "batch.recorded": 8, "publish.before": 8,
    "publish.inside": 8, "publish.after": 8, "evaluation.before": 2, "evaluation.after": 2, "end.before": 1, "end.recorded": 1,
    "hub.send": 60, "hub.receive": 100,
}
FOLLOWER = {"learner.order": 8, "learner.forward": 8, "collective.inside": 60, "learner.updated": 8}
ACTOR = {
    "actor.lease": 8, "actor.weights": 3, "actor.weights.inside": 3, "actor.generate": 40, "actor.result.before": 6, "actor.result.after": 6,
    "peer.send": 20, "peer.receive": 15,
}
REWARDER = {"rewarder.task": 20, "rewarder.result.before": 20, "rewarder.result.after": 20}
SPOILT = {"learner.gradient", "actor.slot_seed"}  # not places to die at
AFTER_THE_END = {"end.after"}
ON_GPUS = {"collective.nccl"}  # tests/distributed/two_gpus.py


class Bench:
    """Where a scenario makes its runs, its dice, and what the undisturbed run came to."""

    def __init__(self, folder, seed):
        self.folder = folder
        self.seed = seed
        self.dice = random.Random(seed)
        self.runs = []
        self.undisturbed = None  # (final_hash, hash of the weights after each step)

    def run(self, **options):
        self.runs.append(Run(self.folder / f"run-{uuid.uuid4().hex[:8]}", **options))
        return self.runs[-1]

    def look_undisturbed(self):
        run = self.run()
        run.finish()
        hashes = run.hashes()
        expect(len(set(hashes.values())) == 12, f"the weights should change in every step: {hashes}")
        self.undisturbed = run.audit()[0], hashes

    def dealt_for(self, name):
        """The same with dice of this name's own, whatever other scenarios run, and with runs of its own."""
        bench = copy.copy(self)
        bench.runs = []
        bench.dice = random.Random(f"{self.seed} {name}")
        return bench

    def same_end(self, run):
        """The run is finished, its audit holds, and it has every bit of the undisturbed one. (groups lost, groups trained twice)"""
        final_hash, lost, twice = run.audit()
        expect(run.hashes() == self.undisturbed[1], "the weights after a step differ from the undisturbed run's")
        expect(final_hash == self.undisturbed[0], f"final_hash {final_hash}, undisturbed {self.undisturbed[0]}")
        expect(lost == 0 and twice == 0, f"{lost} groups lost, {twice} trained twice")
        run.remove()
        return lost, twice

    def end(self):
        for run in self.runs:
            run.remove()


@dataclass
class Scenario:
    """`work(bench, *arguments, **options)`, `count` times, gives (groups lost, groups trained twice)."""

    name: str
    count: int
    work: Callable
    arguments: tuple = ()
    options: dict = field(default_factory=dict)
    alone: bool = False  # it measures time: nothing else is to run beside it
    outcome: str = "yes"  # in the column "bit-equal", where its promises held

    def run(self, bench):
        """The row of the table behind the name."""
        results = [self.work(bench, *self.arguments, **self.options) for _ in range(self.count)]
        lost, twice = map(sum, zip(*results))
        return self.count, lost, twice, self.outcome


# --- F5: the whole run is killed ---


def whole_run_killed_at(bench, point, most):
    """Learner 0 stops dead at the point, every process is killed, the same command goes on."""
    run = bench.run()
    nth = bench.dice.randint(1, most)
    run.wait_mark(run.supervise(f"{point}:learner0:{nth}:stop"))
    run.kill_all()
    run.finish()
    return bench.same_end(run)


def whole_run_killed_after_the_end(bench):
    """Nothing is left to do: the same command says so, and the run is whole."""
    run = bench.run()
    run.wait_mark(run.supervise("end.after:learner0:1:stop"))
    run.kill_all()
    run.finish(code=2)
    return bench.same_end(run)


def whole_run_killed_sometime(bench, max_lag):
    """Up to 50 ms after any step, or in the two seconds of the start. Recorded steps keep their bits at every lag."""
    step = bench.dice.randint(0, 11)
    moment_s = bench.dice.uniform(0, 0.05 if step > 0 else 2)
    while True:
        run = bench.run(run__max_lag=max_lag)
        child = run.supervise()
        wait_for(150, f"step {step}", lambda: run.steps() >= step or child.poll() is not None)
        time.sleep(moment_s)
        run.kill_all()
        if not run.finished():
            break
        run.remove()  # the kill came after its end: an earlier moment, then
        step, moment_s = max(step - 1, 0), moment_s / 2
    recorded = run.hashes()
    run.finish()
    if max_lag == 0:
        return bench.same_end(run)
    _, lost, twice = run.audit()
    after = run.hashes()
    expect(recorded.items() <= after.items(), f"recorded steps changed: {recorded} became {after}")
    expect(lost == 0 and twice == 0, f"{lost} groups lost, {twice} trained twice")
    run.remove()
    return lost, twice


# --- F1, F3, F4: one process is killed ---


def one_killed_at(bench, who, point, most, **options):
    """The supervisor starts another in its place (or all learners again), and the run ends in the same bits."""
    run = bench.run(**options)
    child = run.supervise(f"{point}:{who}:{bench.dice.randint(1, most)}:kill")
    run.wait_mark(child)
    text = run.wait(child)
    if who.startswith("actor"):
        run.leased_again_in_time(0, point == "actor.generate")
    again = who.startswith("learner") and point not in AFTER_THE_END  # of a finished run they are not
    expect(again == ("starting them again" in text), f"the supervisor should start the learners again: {again}; it said:\n{text}")
    return bench.same_end(run)


def actor_killed_in_a_job(bench, point, most):
    """Under mpirun --enable-recovery nobody starts another: the one that is left does all the work."""
    run = bench.run()
    child = run.job(f"{point}:actor0:{bench.dice.randint(1, most)}:kill", actors=2)
    run.wait_mark(child)
    run.wait(child)
    run.leased_again_in_time(0, point == "actor.generate")
    return bench.same_end(run)


def learner_missing_in_a_job(bench, point, hits, action, **options):
    """Under mpirun --enable-recovery rank 0 names rank 1, which does not go on, within the deadline, and every process of the job ends. Two
    that held one model together have one each afterwards, which ends in other bits."""
    run = bench.run(**options)
    child = run.job(f"{point}:learner1:{bench.dice.randint(*hits)}:{action}")
    run.wait_mark(child)
    start = time.monotonic()
    patience = (run.options["deadline.collective_s"] * (2 if action == "stop" else 1) + 1 * SCALE)
    named = wait_for(30, "the other learner to name rank 1", lambda: re.search(r"rank 0: (.*rank 1.*)", child.log.read_text()))
    took = time.monotonic() - start
    expect(took <= patience, f"rank 1 was named after {took:.1f} s, expected {patience:.1f}: {named[1]}")
    wait_for(60, "every process of the job to end", lambda: not run.processes())
    child.wait(10)
    together = run.options.pop("learners.tensor_parallel", 1) > 1
    run.finish()
    return run.audit()[1:] if together else bench.same_end(run)


def learner_stopped(bench, rank):
    """A learner that stands still in the middle of a step is named by the other; mpirun ends both, and they are started again."""
    run = bench.run()
    child = run.supervise(f"learner.backward:learner{rank}:{bench.dice.randint(2, 8)}:stop")
    run.wait_mark(child)
    start = time.monotonic()
    wait_for(30, "the learners to be started again", lambda: "starting them again" in child.log.read_text())
    took = time.monotonic() - start
    text = run.wait(child)
    patience = 2 * run.options["deadline.collective_s"] + 4 * SCALE  # mpirun takes 2 to 4 s to end the rest
    expect(took <= patience, f"the learners were started again after {took:.1f} s, expected {patience:.1f}")
    expect(re.search(rf"rank {1 - rank}: .*rank {rank}", text), f"rank {rank} was not named:\n{text}")
    expect("exited with code 75" in text, f"the learners did not leave with 75:\n{text}")
    return bench.same_end(run)


# --- F16: numbers that are none ---


def quarantine_of(run):
    path = run.dir / "rollouts" / "quarantine"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def gradient_not_finite_once(bench):
    """Both ranks leave the update out alike, the step is told in rollouts/quarantine, and the run goes on."""
    run = bench.run()
    run.wait(run.supervise("learner.gradient:learner1:5:corrupt"))
    run.audit()
    hashes = run.hashes()
    expect(hashes[5] == hashes[4], "the weights changed in the step whose gradient was not finite")
    expect(hashes[4] == bench.undisturbed[1][4] and hashes[6] != hashes[5], "other steps were harmed")
    told = quarantine_of(run)
    expect([entry["step"] for entry in told] == [5] and len(told[0]["groups"]) == 4, f"rollouts/quarantine has {told}")
    expect(told[0]["tensor"] == "model.embed_tokens.weight", f"the first bad tensor is {told[0]['tensor']}")
    metrics = [json.loads(line) for line in (run.dir / "metrics.jsonl").read_text().splitlines()]
    expect([row["step"] for row in metrics if row["updates_skipped"] > 0] == [5], "metrics.jsonl does not count the skipped update")
    run.remove()
    return 0, 0


def gradient_not_finite_for_good(bench):
    """After three such steps in a row the run stops with 1 and a checkpoint of the last good weights."""
    run = bench.run()
    text = run.wait(run.supervise("learner.gradient:learner0:6+:corrupt"), code=1)
    expect("3 steps in a row" in text and "model.embed_tokens.weight" in text, f"the reason was not told:\n{text}")
    expect([entry["step"] for entry in quarantine_of(run)] == [6, 7, 8], f"rollouts/quarantine has {quarantine_of(run)}")
    expect(set(run.hashes().values()) == set(list(bench.undisturbed[1].values())[:5]), "the weights are not those of step 5")
    expect((run.dir / "checkpoints" / "step-8" / "DONE").exists(), "there is no checkpoint of step 8")
    expect(b"\x00\x00\xc0\x7f" not in (run.dir / "checkpoints/step-8/shard-0-of-2.bin").read_bytes(), "a NaN is in the checkpoint")
    run.remove()
    return 0, 0


# --- F12, F24: damaged files ---


def torn(bench, name, point):
    """The last record is cut short at a random byte, as by a crash: it is cut off, and the run ends in the same bits."""
    run = bench.run()
    run.wait_mark(run.supervise(f"{point}:learner0:30:stop"))
    run.kill_all()
    path = sorted(run.dir.glob(name))[-1]
    size = path.stat().st_size
    os.truncate(path, size - bench.dice.randint(1, 40))
    run.finish()
    return bench.same_end(run)


def flipped(bench, name):
    """A flipped bit is named with file and offset by the audit; the run does not train from it."""
    run = bench.run()
    run.wait_mark(run.supervise("learner.step.end:learner0:10:stop"))
    run.kill_all()
    path = sorted(run.dir.glob(name))[-1]
    data = bytearray(path.read_bytes())
    data[bench.dice.randrange(len(data))] ^= 1 << bench.dice.randrange(8)
    path.write_bytes(data)
    found = run.inspect("--audit")
    words = found.stdout + found.stderr
    expect(found.returncode != 0 and str(path) in words and "offset" in words, f"the audit did not name {path} and an offset: {words}")
    if "checkpoints" not in name:
        text = run.finish(code=2)
        expect(path.name in text and "offset" in text, f"the run did not name {path} and an offset: {text}")
        run.remove()
        return 0, 0
    text = run.finish()
    expect(str(path) in text and (run.dir / "checkpoints" / "step-8.bad").exists(), f"step-8 was not set aside: {text}")
    return bench.same_end(run)


def ledger_cut(bench):
    """A ledger that ends before the newest checkpoint is not gone on with, and not begun anew."""
    run = bench.run()
    run.wait_mark(run.supervise("learner.step.end:learner0:10:stop"))
    run.kill_all()
    path = run.dir / "ledger.log"
    whole = path.read_bytes()
    for size in (len(whole) // 4, 0):
        os.truncate(path, size)
        text = run.finish(code=2)
        expect(f"{path}: expected the records of steps 1 to 8" in text, f"the cut ledger was not named: {text}")
        expect(path.stat().st_size <= size, "a ledger was begun anew")
    path.write_bytes(whole)
    run.remove()
    return 0, 0


# --- Another number of learners ---


def resumed_on_other_ranks(bench):
    """Killed while recorded steps lie behind the newest checkpoint, and gone on with by one learner: the recorded steps come out
    with other bits, which is written down, what was drawn from the old ones is drawn again, and the run ends with a balanced ledger."""
    run = bench.run()
    run.wait_mark(run.supervise(f"learner.step.begin:learner0:{bench.dice.randint(11, 12)}:stop"))
    run.kill_all()
    run.options["learners.count"] = 1
    run.finish()
    found = run.inspect("--audit")
    expect(re.search(r"bit-exact up to step \d+", found.stdout), f"the audit does not say how far the run is exact: {found.stdout}")
    _, lost, twice = run.audit()
    run.remove()
    return lost, twice


# --- F28: the same bits whoever does the work ---


def same_bits(bench, **options):
    run = bench.run(**options)
    run.finish()
    return bench.same_end(run)


def same_bits_in_a_job(bench):
    """Actors and rewarders may find the address of a hub that is long gone before they find theirs."""
    run = bench.run()
    run.dir.mkdir()
    stale = {"endpoint": "tcp://127.0.0.1:9", "pid": 4194303, "host": socket.gethostname(), "incarnation": 1}
    (run.dir / "hub.json").write_text(json.dumps(stale))
    run.wait(run.job(actors=2))
    return bench.same_end(run)


def slot_seed_is_noticed(bench):
    """Were a draw to depend on its place in the batch, the comparison with the undisturbed run would tell."""
    run = bench.run()
    run.wait(run.supervise("actor.slot_seed:*:1+:corrupt"))
    expect(run.audit()[0] != bench.undisturbed[0], "a planted seed that depends on the slot went unnoticed")
    run.remove()
    return 0, 0


def every_point_has_a_scenario(_, points):
    named = {*LEADER, *FOLLOWER, *ACTOR, *REWARDER, *SPOILT, *AFTER_THE_END, *ON_GPUS}
    expect(named == set(points), f"fault points without a scenario: {set(points) - named}; scenarios without a point: {named - set(points)}")
    return 0, 0


def table(points, long):
    """Every scenario; those that measure time are alone."""
    repeat, moments = (20, 20) if long else (1, 3)
    rows = [Scenario("every fault point has a scenario", 1, every_point_has_a_scenario, (points,), outcome="")]

    def add(name, count, work, *arguments, **more):
        rows.append(Scenario(name, count, work, arguments, **more))

    for point, most in LEADER.items():
        add(f"F5 whole run killed at {point}", repeat, whole_run_killed_at, point, most)
    add("F5 whole run killed at end.after", repeat, whole_run_killed_after_the_end)
    for max_lag in (0, 2):
        add(f"F5 whole run killed at a random moment, max_lag {max_lag}", moments, whole_run_killed_sometime, max_lag)
    for point, most in ACTOR.items():
        add(f"F1 actor killed at {point}", repeat, one_killed_at, "actor0", point, most)
    add("F1 actor killed in a job", repeat, actor_killed_in_a_job, "actor.generate", 40)
    stream = {"actors__weights": "stream"}
    add("F1 actor killed amid weights by the stream", repeat, one_killed_at, "actor0", "actor.weights.inside", 3, options=stream)
    add("F4 learner 0 killed amid weights by the stream", repeat, one_killed_at, "learner0", "publish.after", 6, options=stream)
    for point, most in REWARDER.items():
        add(f"F3 rewarder killed at {point}", repeat, one_killed_at, "rewarder0", point, most)
    for point, most in FOLLOWER.items():
        add(f"F4 learner 1 killed at {point}", repeat, one_killed_at, "learner1", point, most)
    for point, most in (("collective.inside", 60), ("end.after", 1)):
        add(f"F4 learner 0 killed at {point}", repeat, one_killed_at, "learner0", point, most)
    for stage in (2, 3):
        add(f"F4 learner 1 killed at collective.inside, ZeRO stage {stage}", repeat, one_killed_at, "learner1", "collective.inside", 200,
            options={"learners__zero_stage": stage})
    add("F4 learner 1 killed in a job", repeat, learner_missing_in_a_job, "learner.updated", (2, 6), "kill", alone=True)
    add("F4 learner 1 stopped in a job", repeat, learner_missing_in_a_job, "learner.backward", (2, 6), "stop", alone=True)
    for action, stage in (("kill", 1), ("stop", 1), ("kill", 3)):
        add(f"F4 learner 1, with a part of the model, in a job: {action}, ZeRO stage {stage}", repeat, learner_missing_in_a_job, "collective.inside",
            (100, 200), action, alone=True, outcome="another size",
            options={"learners__tensor_parallel": 2, "learners__zero_stage": stage, "cold_start__kv_heads": 2})
    for rank in (0, 1):
        add(f"F4 learner {rank} stopped in a step", repeat, learner_stopped, rank, alone=True)
    add("F16 a gradient is not finite", 1, gradient_not_finite_once)
    add("F16 no gradient is finite any more", 1, gradient_not_finite_for_good)
    for name in ("ledger.log", "rollouts/*.log", "checkpoints/step-8/shard-1-of-2.bin"):
        add(f"F12 a bit flipped in {name}", repeat, flipped, name)
    add("F12 ledger cut below its checkpoint", 1, ledger_cut)
    for name, point in (("ledger.log", "ledger.append.after"), ("rollouts/*.log", "rollouts.append.after")):
        add(f"F24 {name} torn in its last record", repeat, torn, name, point)
    add("resumed on another number of learners", repeat, resumed_on_other_ranks, outcome="up to a step")
    add("F28 the same seed again", 1, same_bits)
    for key, value in (("actors.count", 1), ("actors.count", 4), ("actors.slots", 5), ("rewarders.count", 3), ("learners.zero_stage", 3),
                       ("learners.recompute", "block")):
        add(f"F28 {key} = {value}", 1, same_bits, options={key.replace(".", "__"): value})
    add("F28 one mpirun job, beside a stale hub.json", 1, same_bits_in_a_job)
    add("F28 a seed that depends on the slot is noticed", 1, slot_seed_is_noticed, outcome="no, as it must")
    return rows
