#!/usr/bin/env python3
"""How well `troupe grade --reward language` knows languages, on rows with `lang` and `question` (MGSM): a table of markdown, one row a language.

    language_accuracy.py TROUPE FILE.jsonl

Sentences: those whose share of their own language is over one half. Pieces of 5 and 10 words (half as many characters of Chinese and Japanese, a
quarter of Thai): the same. Mixed: chains of thought of two to five sentences in two languages, with formulas and code between them; the mean
distance from the true share of words, and how many are farther away than 0.15.
"""
import collections
import json
import random
import re
import subprocess
import sys
import tempfile
import unicodedata

UNSPOKEN = ["$x^2 + y = 3$", "`total = a + b`", "\\(\\frac{1}{2}\\)", "12.5", "```python\nprint(sum(values))\n```", "\\[ 3 \\times 4 = 12 \\]"]


def sentences_of(text):
    return [part.strip() for part in re.split(r"(?<=[.?!])\s+|(?<=[。？！।])", text) if len(part.strip()) > 8]


def words_in(text, lang):
    letters = sum(unicodedata.category(c)[0] == "L" for c in text)
    if lang in ("zh", "ja"):
        return letters / 2
    return letters / 4 if lang == "th" else sum(sum(c.isalpha() for c in word) > 1 for word in text.split())


def piece(text, lang, words, draw):
    if lang in ("zh", "ja", "th"):
        return text[: words * (4 if lang == "th" else 2)]
    all_words = text.split()
    start = draw.randrange(max(1, len(all_words) - words))
    return " ".join(all_words[start:start + words])


def shares(troupe, items):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/in", "w", encoding="utf-8") as rows:
            for text, lang in items:
                rows.write(json.dumps({"question": "?", "completion": text, "language": lang}) + "\n")
        subprocess.run([troupe, "grade", "--reward", "language", "--in", f"{folder}/in", "--out", f"{folder}/out"], check=True, stderr=subprocess.DEVNULL)
        return [json.loads(line)["reward"] for line in open(f"{folder}/out", encoding="utf-8")]


def mixed(by_lang, first, second, draw):
    parts, words = [], collections.Counter()
    for place in range(draw.randrange(2, 6)):
        lang = first if place == 0 else draw.choice([first, second])
        parts.append(draw.choice(by_lang[lang]))
        words[lang] += words_in(parts[-1], lang)
        if draw.random() < 0.5:
            parts.append(draw.choice(UNSPOKEN))
    return f"<think>{' '.join(parts)}</think>", words[first] / sum(words.values())


def main():
    troupe, file = sys.argv[1:]
    draw = random.Random(1)
    by_lang = collections.defaultdict(list)
    for line in open(file, encoding="utf-8"):
        row = json.loads(line)
        by_lang[row["lang"]] += sentences_of(row["question"])
    print("| language | sentences | right | of 5 words | of 10 words | mixed: mean error | over 0.15 |\n|---|---|---|---|---|---|---|")
    errors = []
    for lang, sentences in sorted(by_lang.items()):
        right = []
        for items in (sentences, *([piece(draw.choice(sentences), lang, n, draw) for _ in range(200)] for n in (5, 10))):
            right.append(sum(share > 0.5 for share in shares(troupe, [(text, lang) for text in items])) / len(items))
        texts = [mixed(by_lang, lang, other, draw) for other in by_lang if other != lang for _ in range(20)]
        off = [abs(share - true) for share, (_, true) in zip(shares(troupe, [(text, lang) for text, _ in texts]), texts)]
        errors += off
        print(f"| {lang} | {len(sentences)} | {right[0]:.3f} | {right[1]:.3f} | {right[2]:.3f} | {sum(off) / len(off):.3f} | {sum(e > 0.15 for e in off) / len(off):.3f} |")
    print(f"\nMixed, all: {len(errors)} texts, mean error {sum(errors) / len(errors):.4f}, {sum(e > 0.15 for e in errors) / len(errors):.4f} over 0.15.")


if __name__ == "__main__":
    main()
