# The first part of worker.py and of tester.py: values and messages between them, one JSON text a line.
#
# Built-in values travel as such, those of classes derived from them as their base. What else there is stays with the worker and
# travels as a number, so that no class of the program's comes to life beside the tests.
import collections
import decimal
import fractions
import json
import math
import sys
import types

sys.set_int_max_str_digits(0)
kLongestLine = 8 << 20  # bytes
kSequences = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": collections.deque}
kBytes = {"bytes": bytes, "bytearray": bytearray}
kTypes = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, type(None), object)}


def encode(value, opaque):
    """The JSON of a value; `opaque` gives that of one that is not built in."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    for name, kind in kSequences.items():
        if isinstance(value, kind):
            return [name, [encode(part, opaque) for part in kind.__iter__(value)]]
    if isinstance(value, dict):
        return ["dict", [[encode(key, opaque), encode(part, opaque)] for key, part in dict.items(value)]]
    for name, kind in kBytes.items():
        if isinstance(value, kind):
            return [name, kind.hex(value)]
    if isinstance(value, range):
        return ["range", [value.start, value.stop, value.step]]
    if isinstance(value, (decimal.Decimal, fractions.Fraction)):
        return ["decimal" if isinstance(value, decimal.Decimal) else "fraction", str(value)]
    if isinstance(value, type) and kTypes.get(value.__name__) is value:
        return ["type", value.__name__]
    if isinstance(value, types.ModuleType):
        return ["module", value.__name__]
    if type(value).__module__ == "numpy":
        return encode(value.tolist(), opaque)
    return opaque(value)


def decode(item, opaque):
    """The reverse; `opaque` makes the value of what is not built in. ValueError for anything that encode does not write."""
    if not isinstance(item, list):
        if isinstance(item, dict):
            raise ValueError("a JSON object")
        return item
    tag, rest = item[0], item[1:]
    if tag in kSequences:
        return kSequences[tag](decode(part, opaque) for part in rest[0])
    if tag == "dict":
        return {decode(key, opaque): decode(part, opaque) for key, part in rest[0]}
    if tag in kBytes:
        return kBytes[tag].fromhex(rest[0])
    if tag == "complex":
        return complex(*rest)
    if tag == "range":
        return range(*rest[0])
    if tag == "decimal":
        return decimal.Decimal(rest[0])
    if tag == "fraction":
        return fractions.Fraction(rest[0])
    if tag == "type":
        return kTypes[rest[0]]
    return opaque(tag, rest[0])


class TooLong(Exception):
    """A message over kLongestLine."""


class Line:
    """Lines over a socket."""

    def __init__(self, socket):
        self.socket = socket
        self.file = socket.makefile("rb")

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self):
        """The next message; EOFError at the end."""
        line = self.file.readline(kLongestLine + 1)
        if not line.endswith(b"\n"):
            raise TooLong if len(line) > kLongestLine else EOFError
        return json.loads(line)
