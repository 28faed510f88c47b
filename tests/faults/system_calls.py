"""F13, in the long table: a learner dies at every system call with which its main thread changes files, a save among them."""

import shutil
import signal

from live import SCALE, expect
from scenarios import Scenario

CALLS = ("write", "fsync", "rename", "unlink", "unlinkat", "mkdir", "ftruncate")
OPTIONS = {"learners__count": 1, "actors__count": 1, "run__steps": 8}


def by_hand(run, wrapper=()):
    """The run's roles as plain processes; the learner's exit code."""
    helpers = [run.start(run.command(role)) for role in ("actor", "rewarder")]
    learner = run.start([*wrapper, *run.command("learner")])
    code = learner.wait(60 * SCALE)
    for helper in helpers:
        helper.kill()
        helper.wait()
    return code


def killed_at_each(bench, call):
    """From a run that is about to write its checkpoint of step 8: either that or the one before is there, and the end is the same."""
    begun = bench.run(**OPTIONS)
    begun.wait_mark(begun.supervise("checkpoint.begin:learner0:2:stop"))
    begun.kill_all()
    expect(sorted(path.name for path in (begun.dir / "checkpoints").iterdir()) == ["step-4"], "expected the checkpoint of step 4 alone")
    straight = bench.run(**OPTIONS)
    straight.finish()
    final_hash = straight.audit()[0]
    for count in range(1, 1000):
        run = bench.run(**OPTIONS)
        shutil.copytree(begun.dir, run.dir)
        strace = ["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={count}"]
        code = by_hand(run, strace)
        if code == 0:
            expect(run.audit()[0] == final_hash, f"the run that nobody killed ended in another hash, {call} {count}")
            run.remove()
            return 0, 0
        expect(code in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{call} {count}: the learner ended with {code}")
        run.finish(code=2 if run.finished() else 0)
        found, lost, twice = run.audit()
        expect(found == final_hash and lost == 0 and twice == 0, f"{call} {count}: final_hash {found}, expected {final_hash}")
        run.remove()
    expect(False, f"the run did not end in 1000 calls of {call}")


def table():
    return [Scenario(f"F13 learner killed at each {call}", 1, killed_at_each, (call,)) for call in CALLS]
