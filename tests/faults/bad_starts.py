"""F23: starts that cannot work are refused within two seconds, in words that say what to do."""

import json
import socket
import time

from live import SCALE, Run, expect, wait_for

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
    return 1, 0, 0, ""


def second_run(folder):
    """The owner goes on undisturbed: its hub is still to be found, and it finishes."""
    first = Run(folder / "owned")
    child = first.supervise()
    wait_for(20, "the first run's hub", (first.dir / "hub.json").exists)
    owner = json.loads((first.dir / "hub.json").read_text())["pid"]
    second = Run(first.dir, beside=folder / "second")
    row = refused(second, [f"pid {owner} ", str(first.dir)])
    expect((first.dir / "hub.json").exists(), "the second start took the first run's hub.json away")
    first.wait(child)
    first.audit()
    return row


def port_in_use(folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        return refused(Run(folder / "port", hub__bind=endpoint), [f"hub.bind = {endpoint}", "Address already in use"])


def unwritable_folder(folder):
    return refused(Run("/proc/troupe-run", beside=folder / "unwritable"), ["--run-dir", "/proc/troupe-run"])


def folder_is_a_file(folder):
    path = folder / "plain"
    path.write_text("")
    return refused(Run(path, beside=folder / "beside-plain"), ["--run-dir", str(path)])


def model_file_missing(folder):
    model = folder / "model"
    model.mkdir()
    return refused(Run(folder / "no-model", cold_start__steps=0, model__path=model), [str(model / "config.json")])


def torn_row(folder):
    rows = folder / "torn.jsonl"
    rows.write_text('{"question": "1+1=", "answer": "2"}\n{"question": "2+2=", "ans')
    return refused(Run(folder / "torn-rows", data__train=rows), [f"{rows}:2"])


def table(folder):
    """The scenarios as (name, work)."""
    cases = (second_run, port_in_use, unwritable_folder, folder_is_a_file, model_file_missing, torn_row)
    return [(f"F23 {case.__name__.replace('_', ' ')}", lambda case=case: case(folder)) for case in cases]
