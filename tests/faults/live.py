"""Runs of tests/faults/tiny.cfg as real processes that can be killed, stopped and looked at."""

import contextlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
import uuid
from pathlib import Path

SCALE = float(os.environ.get("TROUPE_TIME_SCALE", "1"))
CONFIG = Path(__file__).with_name("tiny.cfg")
TAG = "TROUPE_TEST_RUN"  # in the environment of every process of a run, by which they are found again

# Short enough for a test, long enough for a busy machine of two cores.
DEADLINES = {"collective_s": 3, "heartbeat_s": 1.5, "lease_s": 3, "reconnect_s": 8, "startup_s": 30}


class Failure(Exception):
    """A scenario's promise that did not hold."""


def expect(holds, message):
    if not holds:
        raise Failure(message)


def wait_for(seconds, what, holds):
    """Polls until `holds()` gives something, and returns that."""
    end = time.monotonic() + seconds * SCALE
    while time.monotonic() < end:
        result = holds()
        if result:
            return result
        time.sleep(0.005)
    raise Failure(f"waited {seconds * SCALE:.0f} s for {what}")


def state_of(pid):
    """The process's state letter (T: stopped, Z: dead but not reaped), or "" where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return ""


class Run:
    """One run directory and the processes that work in it."""

    program = None  # the faulty troupe; set once

    def __init__(self, folder, **options):
        self.dir = folder
        self.beside = folder  # logs and the mark lie beside it, with endings of their own
        self.tag = uuid.uuid4().hex
        self.options = {f"deadline.{key}": value * SCALE for key, value in DEADLINES.items()}
        self.options.update({key.replace("__", "."): value for key, value in options.items()})
        self.mark = self.beside.with_suffix(".mark")
        self.mpi_memory = set()  # folders that killed mpiruns had
        self.attempts = 0
        self.children = []

    def words(self):
        return [word for key, value in self.options.items() for word in (f"--{key}", str(value))]

    def command(self, role):
        return [str(self.program), role, str(CONFIG), *self.words(), "--run-dir", str(self.dir)]

    def start(self, command, fault=None, once=True):
        """Starts a process of the run; its output goes to a log of its own. A fault happens in one process, or in each that gets there."""
        self.attempts += 1
        environment = {**os.environ, TAG: self.tag, "OMP_NUM_THREADS": "1"}
        if fault:
            self.mark.unlink(missing_ok=True)
            environment["TROUPE_FAULT"] = fault
            if once:
                environment["TROUPE_FAULT_MARK"] = str(self.mark)
        log = self.beside.with_suffix(f".{self.attempts}.log")
        with open(log, "w") as out:
            child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        child.log = log
        self.children.append(child)
        return child

    def supervise(self, fault=None):
        return self.start(self.command("run"), fault)

    def job(self, fault=None, actors=1):
        """The one-line mpirun job of 2 learners, `actors` actors and a rewarder."""
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        words = ["mpirun", *root, "--bind-to", "none", "--oversubscribe", "--enable-recovery"]
        for count, role in ((2, "learner"), (actors, "actor"), (1, "rewarder")):
            words += [":"] if role != "learner" else []
            words += ["-np", str(count), *self.command(role)]
        return self.start(words, fault)

    def wait(self, child, code=0, seconds=150):
        """Waits for a child's end with this exit code; its output."""
        try:
            found = child.wait(seconds * SCALE)
        except subprocess.TimeoutExpired:
            raise Failure(f"still running after {seconds * SCALE:.0f} s\n{self.tail(child)}") from None
        text = child.log.read_text(errors="replace")
        expect(found == code, f"exit code {found}, expected {code}\n{self.tail(child)}")
        return text

    def tail(self, child):
        helpers = [f"--- {path.name}\n{path.read_text(errors='replace')[-600:]}" for path in sorted((self.dir / "logs").glob("*.log"))]
        return "\n".join([child.log.read_text(errors="replace")[-2500:], *helpers])

    def finish(self, code=0, seconds=150):
        """The same command once more, to the run's end."""
        return self.wait(self.supervise(), code, seconds)

    def wait_mark(self, child, seconds=150):
        """Until the fault has happened. A point that the run never reaches is a failure."""
        wait_for(seconds, f"the fault to happen\n{self.tail(child)}", lambda: self.mark.exists() or child.poll() is not None)
        expect(self.mark.exists(), f"the run ended ({child.returncode}) before the fault happened: its point was never reached\n{self.tail(child)}")

    def processes(self, role=""):
        """Pids of the run's live processes, of a role where one is given."""
        pids = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                if f"{TAG}={self.tag}".encode() not in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    continue
                words = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if state_of(entry) in ("", "Z") or (role and words[1:2] != [role]):
                continue
            pids.append(int(entry))
        return pids

    def kill_all(self):
        """SIGKILL to every process of the run, until none is left."""

        def all_gone():
            pids = self.processes()
            for pid in pids:
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
                    if "btl_vader_backing_directory" in words:
                        self.mpi_memory.add(Path(words[words.index("btl_vader_backing_directory") + 1]))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        wait_for(60, "every process to die", all_gone)
        for child in self.children:
            child.wait()

    def inspect(self, *words):
        return subprocess.run([str(self.program), "inspect", str(self.dir), *words], capture_output=True, text=True, timeout=60 * SCALE)

    def hashes(self):
        """The weights' hash after each step that the ledger has."""
        if not (self.dir / "ledger.log").exists():
            return {}
        found = self.inspect("--json")
        if found.returncode == 2 and "run_started" in found.stderr:
            return {}
        expect(found.returncode == 0, f"inspect --json: {found.stderr}")
        return {step["step"]: step["weights_hash"] for step in json.loads(found.stdout)["steps"]}

    def records(self):
        """The ledger's records, in order."""
        data = (self.dir / "ledger.log").read_bytes()
        at = 0
        while at < len(data):  # header of 32 bytes: magic 4, type 2, zero 2, body length 8, checksums 16
            length = struct.unpack_from("<Q", data, at + 8)[0] if at + 32 <= len(data) else 0
            if not 0 < length <= len(data) - at - 32:
                return  # it is being written
            yield json.loads(data[at + 32 : at + 32 + length])
            at += 32 + length

    def leased_again_in_time(self, actor, has_lease):
        """What the actor had when it was killed is given to others within twice deadline.heartbeat_s."""
        killed_s = self.mark.stat().st_mtime + 0.05  # a file's time is a tick or two behind; another actor takes longer to start
        patience_s = 2 * self.options["deadline.heartbeat_s"]
        held, lost = {}, {}  # the killed actor's leases that gave no result; groups taken back from it, and when
        for record in self.records():
            kind, group = record["record"], (record.get("purpose"), record.get("group"))
            if kind == "group_leased":
                if group in lost:
                    took_s = record["unix_s"] - killed_s
                    expect(took_s <= patience_s, f"{group} was leased again {took_s:.2f} s after the kill, expected {patience_s:.2f}")
                    del lost[group]
                if record["actor"].startswith(f"actor {actor} ") and record["unix_s"] <= killed_s:
                    held[record["lease_id"]] = group
            elif kind == "group_rolled_out":
                held.pop(record["lease_id"], None)
            elif kind == "lease_lost" and record["lease_id"] in held and record["unix_s"] >= killed_s - 0.1:
                lost[held.pop(record["lease_id"])] = record["unix_s"]
                has_lease = False
        expect(not has_lease, "no lease was taken back from the actor, which was killed at work")
        expect(not lost, f"never leased again: {lost}")

    def steps(self):
        """How many steps metrics.jsonl tells of: cheap to ask."""
        path = self.dir / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def finished(self):
        """The run's last record is written, and its summary: nothing is left to do, whether or not its processes have ended."""
        return (self.dir / "summary.json").exists()

    def audit(self):
        """Of a finished run: the audit holds, no process and no shared memory is left. final_hash, groups lost, trained twice."""
        wait_for(30, "the run's processes to end", lambda: not self.processes())
        found = self.inspect("--audit", "--json")
        expect(found.returncode == 0, f"audit: {found.stdout}{found.stderr}")
        audit = json.loads(found.stdout)
        lost = audit["groups_leased"] - audit["groups_trained"] - audit["groups_open"] - sum(audit["groups_refused"].values())
        twice = sum("I2" in problem for problem in audit["problems"])
        expect(not self.shared_memory(), f"shared memory is left: {self.shared_memory()}")
        return audit["final_hash"], lost, twice

    def shared_memory(self):
        """What lies in shared memory under the run's id, and MPI's where the run was killed."""
        ledger = self.dir / "ledger.log"
        run_id = re.search(rb'"run_id":"(\w+)"', ledger.read_bytes()) if ledger.exists() else None
        memory = [path for path in Path("/dev/shm").iterdir() if run_id and run_id[1].decode() in path.name]
        return memory + [path for path in self.mpi_memory if path.exists()]

    def remove(self):
        """Ends the run and takes everything of it away; a killed one leaves what only its next start would clear."""
        self.kill_all()
        for path in self.shared_memory():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.beside.parent.glob(self.beside.name + "*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
