"""Checks dumps of steps 4 and 5 of a run on their own, without torch: shapes, the loss from its parts, the gradient's norm, and
that weights_after of one step are weights_before of the next, and those of step 4 the checkpoint's. Used by replay.sh.

    python3 check_dump_by_itself.py DUMP4 DUMP5 CHECKPOINT LOSS GRADIENT_NORM
"""

import json
import math
import struct
import sys

FORMATS = {"F32": "f", "I64": "q", "BOOL": "?"}


def read(path):
    """Name to (shape, values) of a safetensors file."""
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        begin, end = (8 + length + offset for offset in info["data_offsets"])
        tensors[name] = (info["shape"], [value for (value,) in struct.iter_unpack("<" + FORMATS[info["dtype"]], data[begin:end])])
    return tensors


def check_batch(batch, forward, loss):
    value = lambda name: batch[name][1]
    starts, mask = value("sequence_starts"), value("completion_mask")
    tokens, sequences = starts[-1], len(starts) - 1
    assert sequences == 16 and len(value("rewards")) == sequences
    per_token = ("ids", "positions", "completion_mask", "sampler_logprobs", "old_logprobs", "reference_logprobs", "advantages", "token_weights")
    assert all(batch[name][0] == [tokens] for name in per_token) and all(forward[name][0] == [tokens] for name in ("logprobs", "entropy"))
    total = 0.0
    for begin, end in zip(starts, starts[1:]):
        assert value("positions")[begin:end] == list(range(end - begin))
        completion = [i for i in range(begin, end) if mask[i]]
        assert completion == list(range(completion[0], end)) and completion[0] > begin, "a prompt, then its completion"
        assert len(set(value("advantages")[i] for i in completion)) == 1
        for i in range(begin, completion[0]):
            assert forward["logprobs"][1][i] == value("sampler_logprobs")[i] == value("token_weights")[i] == 0
        for i in completion:
            logprob = forward["logprobs"][1][i]
            assert logprob == value("sampler_logprobs")[i] == value("old_logprobs")[i] and logprob < 0, "on policy the same bits"
            weight = value("token_weights")[i]
            assert math.isclose(weight, 1 / (sequences * len(completion)), rel_tol=1e-6)
            difference = logprob - value("reference_logprobs")[i]
            total += weight * (-value("advantages")[i] + 0.01 * (math.exp(-difference) + difference - 1))
    assert abs(total - loss) < 1e-7 and abs(forward["loss"][1][0] - loss) < 1e-8, (total, forward["loss"], loss)
    # Group by group the advantages are the rewards, centred and scaled: sequences of one prompt have the same ids before the mask.
    prompts = {}
    for s, (begin, end) in enumerate(zip(starts, starts[1:])):
        first = next(i for i in range(begin, end) if mask[i])
        prompts.setdefault(tuple(value("ids")[begin:first]), []).append((value("rewards")[s], value("advantages")[first]))
    for group in prompts.values():
        mean = sum(reward for reward, _ in group) / len(group)
        deviation = math.sqrt(sum((reward - mean) ** 2 for reward, _ in group) / len(group))
        for reward, advantage in group:
            assert deviation == 0 or abs(advantage - (reward - mean) / deviation) < 1e-4, (group, advantage)


def main():
    dump4, dump5, checkpoint, loss, norm = sys.argv[1:6]
    load = lambda folder, name: read(f"{folder}/{name}.safetensors")
    check_batch(load(dump5, "batch"), load(dump5, "forward"), float(loss))
    gradients = load(dump5, "gradients")
    found = math.sqrt(sum(g * g for _, values in gradients.values() for g in values))
    assert math.isclose(found, float(norm), rel_tol=1e-6), (found, norm)
    assert load(dump4, "weights_after") == load(dump5, "weights_before") != load(dump5, "weights_after")
    assert load(dump4, "weights_before") == read(checkpoint)
    assert {name: shape for name, (shape, _) in gradients.items()} == {name: shape for name, (shape, _) in read(checkpoint).items()}


main()
