"""Writes tensorboard_events.bin: the records of one event file, encoded by TensorBoard itself.

Run with tensorboard installed (2.21 when this was made): python3 make_tensorboard_golden.py
The test tests/common/base/metrics_test.cpp encodes the same events and compares bytes.
"""

import pathlib
import struct

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c


def record(event):
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def scalars(wall_time, step, values):
    summary = summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in values])
    return event_pb2.Event(wall_time=wall_time, step=step, summary=summary)


session = event_pb2.Event(wall_time=2.25, step=301, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
events = [
    event_pb2.Event(wall_time=1.5, file_version="brain.Event:2"),
    session,
    scalars(3.125, 0, [("accuracy", 0.0)]),
    scalars(1e9, 300, [("kl", -0.1), ("reward", 0.75)]),
]
path = pathlib.Path(__file__).with_name("tensorboard_events.bin")
path.write_bytes(b"".join(record(event) for event in events))
