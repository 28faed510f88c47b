#!/usr/bin/env python3
"""Gold answers of data sets against the maths verifier: equal to themselves and what they are rewritten to, not to near misses.

    tests/parity/maths_gold.py MATHS_BENCH FILE.jsonl …

MATHS_BENCH is build/tests/bench/maths_bench. A row's gold stands under `answer`, behind "#### " where there is one. Prints the
pairs that came out wrong and one JSON line; exits 1 if there was one. Empty answers are left out and counted.
"""
import json
import re
import subprocess
import sys
import tempfile
from fractions import Fraction

NEAR_MISSES = 20
INTEGER = re.compile(r"(?<![\d.,_^{!}])(?<!_\{)(?<!frac )(?<!frac)\d+(?![\d.,]\d|\d|\{,)")


def gold_of(row):
    answer = row["answer"]
    return answer.split("####")[-1].strip() if "####" in answer else answer.strip()


def changed_numbers(answer):
    """The answer with one of its whole numbers changed."""
    for match in reversed(list(INTEGER.finditer(answer))):
        number = int(match.group())
        changed = [number + step for step in (1, 2, 3, 5, 11, 17, 23, 29, 100, 1000)]
        for other in [*changed, 10 * number + 7, 2 * number + 13]:
            yield answer[: match.start()] + str(other) + answer[match.end():]


def near_misses(answer):
    """Twenty answers that are not this one."""
    found = []
    has_words = re.search(r"\\text|\\mbox|^[A-Za-z ]{2,}$", answer) is not None
    relation = re.search(r"[=<>]|\\le|\\ge|\\in\b", answer) is not None
    structure = re.match(r"\s*(\\left)?\s*[\[(]|.*(\\begin|,|\\cup|\\pm)", answer, re.S) is not None
    number = INTEGER.search(answer) is not None
    candidates = list(changed_numbers(answer))
    if not structure and not relation and not has_words:
        body = re.sub(r"\\%|%|\^\\circ|\^\{\\circ\}", "", answer).replace("\\$", "")
        candidates += [f"({body}) + {k}" for k in (1, 3, 7, 1000)] + [f"({body}) - {k}" for k in (2, 5, 9)]
        if "^" not in body:  # 2^{4950} + \\pi has the same first thousand digits
            candidates += [f"({body}) + {k}\\pi" for k in (1, 2, 5, 11)]
        candidates += [f"({body}) + x^{k} + 1" for k in (2, 3, 4, 5, 6, 7, 8, 9, 10)]
        candidates += [f"[{body}, \\infty)", "\\emptyset"]
    elif number:
        candidates += [f"{k}" for k in (424242, 0.125125, 777777)]
    candidates += [f"\\text{{none of these {'abcdefghijklmnopqrstuvwxyz'[k]}}}" for k in range(NEAR_MISSES)]
    for candidate in candidates:
        if candidate != answer and candidate not in found:
            found.append(candidate)
        if len(found) == NEAR_MISSES:
            break
    return found


def decimal_of(value):
    """A terminating decimal, or nothing."""
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    if denominator != 1:
        return None
    digits = f"{float(value):.12f}".rstrip("0").rstrip(".")
    return digits if Fraction(digits) == value else None


def rewrites(answer):
    """The same answer in other words."""
    same = [answer, f" {answer} ", f"${answer}$", answer + ".", answer.replace("+", " + ").replace("=", " = ")]
    same.append(re.sub(r"\s+", " ", answer))
    same.append(re.sub(r"(?<=[\w}]) (?=[-+=])|(?<=[-+=]) ", "", answer))
    same.append(answer.replace("\\frac", "\\dfrac"))
    same.append(answer.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
    same.append(answer.replace("\\frac", "\\tfrac").replace("\\dtfrac", "\\dfrac").replace("\\ttfrac", "\\tfrac"))
    same.append(answer.replace("\\left", "").replace("\\right", ""))
    if "^" not in answer:
        same.append(re.sub(r"(?<!\d)(?<!\d )\\frac\{(\d+)\}\{(\d+)\}(?!\s*[\w\\(])", r"(\1/\2)", answer))
    same.append(re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt\1", answer))
    same.append(re.sub(r"\^(\d)(?!\d)", r"^{\1}", answer))
    same.append(answer.replace("\\pi", "π") if not re.search(r"\\pi[a-z]", answer) else answer)
    same.append(answer.replace("\\!", "").replace(",\\,", ","))
    plain = re.fullmatch(r"(-?)\\?\$?(\d+)", answer)
    if plain:
        number = int(plain.group(2))
        same += [f"{plain.group(1)}{number:,}", f"{answer}.0", f"{plain.group(1)}\\frac{{{3 * number}}}{{3}}"]
        same += [f"x = {answer}", f"{answer}\\text{{ units}}"]
    fraction = re.fullmatch(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}", answer)
    if fraction:
        sign, top, bottom = fraction.group(1), int(fraction.group(2)), int(fraction.group(3))
        same += [f"{sign}{top}/{bottom}", f"\\frac{{{sign}{top}}}{{{bottom}}}", f"{sign}\\frac{{{2 * top}}}{{{2 * bottom}}}"]
        if decimal_of(Fraction(top, bottom)):
            same.append(sign + decimal_of(Fraction(top, bottom)))
    decimal = re.fullmatch(r"(-?)(\d*\.\d+)", answer)
    if decimal:
        value = Fraction(decimal.group(2) if decimal.group(2)[0] != "." else "0" + decimal.group(2))
        same += [f"{decimal.group(1)}\\frac{{{value.numerator}}}{{{value.denominator}}}", answer + "0"]
    return sorted(set(same))


def main():
    bench, files = sys.argv[1], sys.argv[2:]
    pairs, answers, empty = [], 0, 0
    for file in files:
        for line in open(file, encoding="utf-8"):
            gold = gold_of(json.loads(line))
            if not gold:
                empty += 1
                continue
            answers += 1
            pairs += [(gold, given, True) for given in rewrites(gold)]
            pairs += [(gold, given, False) for given in near_misses(gold)]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/pairs", "w", encoding="utf-8") as out:
            for gold, given, _ in pairs:
                out.write(json.dumps({"gold": gold, "given": given}) + "\n")
        speed = json.loads(subprocess.check_output([bench, f"{folder}/pairs", f"{folder}/verdicts", "1"]))
        verdicts = [line == "true\n" for line in open(f"{folder}/verdicts")]
    wrong = [(gold, given, same) for (gold, given, same), verdict in zip(pairs, verdicts) if same != verdict]
    for gold, given, same in wrong:
        print(json.dumps({"gold": gold, "given": given, "should_be": same}))
    print(json.dumps({"parity": "maths_gold", "answers": answers, "empty": empty, "pairs": len(pairs),
                      "same": sum(same for _, _, same in pairs), "wrong": len(wrong),
                      "pairs_per_s": speed["pairs_per_s"]["median"], "slowest_ms": speed["slowest_ms"]}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
