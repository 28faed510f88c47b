#!/usr/bin/env python3
"""Troupe's maths verifier beside Hugging Face's math-verify, on one core: the same pairs, their verdicts and their rates.

    math_verify_rate.py MATHS_BENCH WORK [--pairs N] [--write DISAGREEMENTS] FILE.jsonl …

FILE has rows with `answer` (from which pairs are made: rewritten and near-miss answers, N in all), or {"gold", "given"} pairs. Both
get bare answers, math-verify between dollar signs as it expects. Prints one JSON line.
"""
import argparse
import json
import logging
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "parity"))
import maths_gold  # noqa: E402

logging.disable(logging.CRITICAL)


def pairs_of(files, count):
    pairs, golds = [], []
    for file in files:
        for line in open(file, encoding="utf-8"):
            row = json.loads(line)
            if "given" in row:
                pairs.append((row["gold"], row["given"], row.get("expected")))
            elif maths_gold.gold_of(row):
                golds.append(maths_gold.gold_of(row))
    random.Random(1).shuffle(golds)
    for gold in golds:
        if len(pairs) >= count:
            break
        same, different = maths_gold.rewrites(gold), maths_gold.near_misses(gold)
        choose = random.Random(gold)
        pairs += [(gold, given, True) for given in choose.sample(same, min(2, len(same)))]
        pairs += [(gold, given, False) for given in choose.sample(different, min(2, len(different)))]
    return pairs[:count]


def ours(bench, work, pairs):
    with open(f"{work}/pairs.jsonl", "w", encoding="utf-8") as out:
        for gold, given, _ in pairs:
            out.write(json.dumps({"gold": gold, "given": given}) + "\n")
    line = json.loads(subprocess.check_output([bench, f"{work}/pairs.jsonl", f"{work}/verdicts", "3"]))
    return [verdict == "true\n" for verdict in open(f"{work}/verdicts")], line["pairs_per_s"]["median"], line["device"]


def theirs(pairs):
    from math_verify import parse, verify

    def in_formula(text):
        return "$" + text.replace("\\$", "").replace("$", "") + "$"

    verify(parse("$1$"), parse("$1$"))  # builds its grammar
    verdicts = []
    start = time.process_time()
    for gold, given, _ in pairs:
        try:
            verdicts.append(bool(verify(parse(in_formula(gold)), parse(in_formula(given)))))
        except Exception:
            verdicts.append(False)
    return verdicts, len(pairs) / (time.process_time() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("work")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--write", help="a file for the pairs on which the verdicts differ")
    options = parser.parse_args()
    pairs = pairs_of(options.files, options.pairs)
    our_verdicts, our_rate, device = ours(options.bench, options.work, pairs)
    their_verdicts, their_rate = theirs(pairs)
    differ = [(*pair, our, their) for pair, our, their in zip(pairs, our_verdicts, their_verdicts) if our != their]
    if options.write:
        with open(options.write, "w", encoding="utf-8") as out:
            for gold, given, expected, our, their in differ:
                row = {"gold": gold, "given": given, "expected": expected, "ours": our, "math_verify": their}
                out.write(json.dumps(row) + "\n")
    known = [pair[2] is not None for pair in pairs]
    print(json.dumps({
        "bench": "against_math_verify", "pairs": len(pairs), "pairs_per_s": our_rate, "math_verify_pairs_per_s": their_rate,
        "times_its_rate": our_rate / their_rate, "goal": 100, "disagreements": len(differ),
        "our_errors": sum(k and p[2] != v for k, p, v in zip(known, pairs, our_verdicts)),
        "math_verify_errors": sum(k and p[2] != v for k, p, v in zip(known, pairs, their_verdicts)), "device": device}))


if __name__ == "__main__":
    main()
