#!/usr/bin/env python3
"""Scores by Hugging Face's math-verify (pip install math-verify), as TRL's accuracy_reward gives them. A gold answer that it cannot
parse gives no value: that is a failed verifier, not a wrong answer."""
import json
import sys

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

kAnswer = LatexExtractionConfig(normalization_config=NormalizationConfig(units=True), boxed_match_priority=0, try_extract_without_anchor=False)


def grade(item):
    row = item["row"]
    solution = row.get("solution") or row.get("gold") or row["answer"].split("####")[-1].strip()
    gold = parse(str(solution), parsing_timeout=10)
    if not gold:
        return {"value": None, "reason": "verifier_failed"}
    answer = parse(item["completion"], extraction_config=[kAnswer], extraction_mode="first_match", parsing_timeout=10)
    right = verify(gold, answer, timeout_seconds=5)
    return {"value": float(right), "reason": "ok" if right else "wrong" if answer else "no_answer"}


for line in sys.stdin:
    print(json.dumps(grade(json.loads(line))), flush=True)
