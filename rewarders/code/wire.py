# The first part of worker.py and of tester.py: how values travel between them.
#
# Built-in values travel as such, those of classes derived from them as their base. What else there is stays with the program and
# travels as a number, so that no class of the program's comes to life beside the tests. No import here that takes time.
import sys
from _collections import deque

sys.set_int_max_str_digits(0)
kSequences = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}
kBytes = {"bytes": bytes, "bytearray": bytearray}
kTypes = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, type(None), object)}
kNumbers = {"decimal": "Decimal", "fractions": "Fraction"}  # classes by module; only there once the module is


def encode(value, opaque):
    """Lists, texts, numbers, True, False and None for a value; `opaque` gives them for one that is not built in."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value) if int.bit_length(value) < 512 else ["int", hex(int.__int__(value))]  # in linear time
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
    for module, name in kNumbers.items():
        if module in sys.modules and isinstance(value, getattr(sys.modules[module], name)):
            return [module, str(value)]
    if isinstance(value, type) and kTypes.get(value.__name__) is value:
        return ["type", value.__name__]
    if isinstance(value, type(sys)):
        return ["module", value.__name__]
    if type(value).__module__ == "numpy":
        return encode(value.tolist(), opaque)
    return opaque(value)


def decode(item, opaque):
    """The reverse; `opaque` makes the value of what is not built in. Fails on what encode does not write."""
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
    if tag == "int":
        return int(rest[0], 16)
    if tag == "complex":
        return complex(*rest)
    if tag == "range":
        return range(*rest[0])
    if tag in kNumbers:
        return getattr(__import__(tag), kNumbers[tag])(rest[0])
    if tag == "type":
        return kTypes[rest[0]]
    return opaque(tag, rest[0])
