"""F23: starts that cannot work are refused within two seconds, in words that say what to do."""

import json
import socket
import time
from pathlib import Path

from live import SCALE, expect, wait_for
from scenarios import Scenario

REFUSED_S = 2


def refused(run, texts):
    """`troupe run` ends with 2 in time, and says each of `texts`."""
    start = time.monotonic()
    text = run.finish(code=2)
    took = time.monotonic() - start
    for part in texts:
        expect(part in text, f"'{part}' is not in: {text}")
    expect(took <= REFUSED_S * SCALE, f"refused after {took:.1f} s")
    expect(not run.processes(), "processes are left")
    return 0, 0


def second_run(bench):
    """The owner goes on undisturbed, and its hub is still to be found."""
    first = bench.run(run__steps=100000)
    first.supervise()
    wait_for(20, "the first run's hub", (first.dir / "hub.json").exists)
    owner = json.loads((first.dir / "hub.json").read_text())["pid"]
    second = bench.run(run__steps=100000)
    second.dir = first.dir
    row = refused(second, [f"pid {owner} ", str(first.dir)])
    expect((first.dir / "hub.json").exists(), "the second start took the first run's hub.json away")
    steps = len(first.hashes())
    wait_for(20, "another step of the first run", lambda: len(first.hashes()) > steps)
    first.remove()
    return row


def port_in_use(bench):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        return refused(bench.run(hub__bind=endpoint), [f"hub.bind = {endpoint}", "Address already in use"])


def unwritable_folder(bench):
    run = bench.run()
    run.dir = Path("/proc/troupe-run")  # not even root can make it
    return refused(run, ["--run-dir", "/proc/troupe-run"])


def folder_is_a_file(bench):
    run = bench.run()
    run.dir.write_text("")
    return refused(run, ["--run-dir", str(run.dir)])


def model_file_missing(bench):
    model = bench.folder / "model"
    model.mkdir()
    return refused(bench.run(cold_start__steps=0, model__path=model), [str(model / "config.json")])


def torn_row(bench):
    rows = bench.folder / "torn.jsonl"
    rows.write_text('{"question": "1+1=", "answer": "2"}\n{"question": "2+2=", "ans')
    return refused(bench.run(data__train=rows), [f"{rows}:2"])


def table():
    """The scenarios; they measure time."""
    cases = (second_run, port_in_use, unwritable_folder, folder_is_a_file, model_file_missing, torn_row)
    return [Scenario(f"F23 {case.__name__.replace('_', ' ')}", 1, case, alone=True, outcome="") for case in cases]
