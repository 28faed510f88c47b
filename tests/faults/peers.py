"""Peers that stop, wake, come and go while the learners train: F2 and F6 of the fault table."""

import os
import signal
import time

from live import SCALE, expect, state_of, wait_for
from scenarios import Scenario


def stopped(run, who, point, nth):
    """A run in which this peer stopped dead at the point; the supervisor, and the peer's pid."""
    child = run.supervise(f"{point}:{who}0:{nth}:stop")
    run.wait_mark(child)
    return child, wait_for(10, f"{who} 0 to stop", lambda: next((pid for pid in run.processes(who) if state_of(pid) == "T"), None))


def lost_by(run, who):
    return [record for record in run.records() if record["record"] == "lease_lost" and record["reason"].startswith(f"{who} 0 ")]


def woken_too_late(bench, who, point, most):
    """A peer that stands still is taken for dead. It wakes with work that others have by then, and goes on without harm."""
    run = bench.run(rewarders__count=2)
    child, pid = stopped(run, who, point, bench.dice.randint(1, most))
    wait_for(30, "its work to be taken back", lambda: lost_by(run, who))
    os.kill(pid, signal.SIGCONT)
    text = run.wait(child)
    expect(f"{who} 0 (pid {pid})" not in text, f"{who} 0 did not live on:\n{text}")
    return bench.same_end(run)


def woken_in_time(bench, who, point, most):
    """A pause shorter than the time-out is none of anybody's business."""
    run = bench.run()
    child, pid = stopped(run, who, point, bench.dice.randint(1, most))
    time.sleep(0.3 * SCALE)
    os.kill(pid, signal.SIGCONT)
    run.wait(child)
    expect(not lost_by(run, who), f"{who} 0 was taken for dead: {lost_by(run, who)}")
    return bench.same_end(run)


def all_actors_killed(bench):
    """F2: the learners say whom they wait for; actors that come later finish the run."""
    run = bench.run(actors__count=0)
    child = run.supervise()
    actors = [run.start(run.command("actor"), f"actor.generate:*:{bench.dice.randint(10, 60)}:kill", once=False) for _ in range(2)]
    for actor in actors:
        run.wait(actor, -signal.SIGKILL)
    wait_for(60, "the learners to say what they wait for", lambda: "no actor is connected" in child.log.read_text())
    run.start(run.command("actor"))
    run.wait(child)
    return bench.same_end(run)


def actor_comes_and_goes(bench):
    """An actor that joins in the middle gets work, and gives back what it has when it is told to leave."""
    run = bench.run()
    child = run.supervise("learner.step.begin:learner0:4+:delay")
    wait_for(60, "step 3", lambda: run.steps() >= 3)
    guest = run.start([*run.command("actor"), "--index", "7"])
    wait_for(60, "the guest to be given work", lambda: any(r.get("actor", "").startswith("actor 7 ") for r in run.records()))
    guest.send_signal(signal.SIGTERM)
    run.wait(guest, 75)
    expect(not run.finished(), "the run was over before the guest left")
    run.wait(child)
    return bench.same_end(run)


def table():
    places = (("actor", "actor.generate", 40), ("rewarder", "rewarder.task", 8))  # of two, each gets some tasks
    late = [Scenario(f"F6 {who} stopped, and awake too late", 1, woken_too_late, (who, point, most)) for who, point, most in places]
    soon = [Scenario(f"F6 {who} stopped for a moment", 1, woken_in_time, (who, point, most), alone=True) for who, point, most in places]
    killed = Scenario("F2 all actors killed, another comes later", 1, all_actors_killed)
    return [killed, Scenario("F2 an actor comes and goes", 1, actor_comes_and_goes), *late, *soon]
