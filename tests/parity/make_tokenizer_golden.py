"""Writes tokenizer_golden.jsonl: what Hugging Face tokenizers makes of about 200 hard texts with three tokenizers.

    python tests/parity/make_tokenizer_golden.py CHARACTERS_JSON

needs `pip install tokenizers` (made with 0.23.3). CHARACTERS_JSON is a file with the text of character_tokenizer_json().
Also trains tests/data/byte-level/tokenizer.json where it does not exist.
"""

import json
import pathlib
import random
import sys

from random_texts import random_text
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TESTS = pathlib.Path(__file__).resolve().parent.parent
QWEN_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")
FIXED_TEXTS = ["", " ", "\n", "Once upon a time", "437+285=", "<think> 7+5=12 </think> <answer> 722 </answer><|end|>",
               "e\u0301\u00e9", "a  b\tc\r\n", "\u2581", "\U0001f600\u200d\u2764\ufe0f", "\u6f22\u5b57\u3000\u304b\u306a"]


def train_byte_level(path: pathlib.Path) -> None:
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    rows = (TESTS / "data/gsm8k/train.jsonl").read_text().splitlines()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator((json.loads(row)["question"] for row in rows), trainer)
    tokenizer.add_special_tokens([AddedToken("<|begin|>", normalized=False), AddedToken("<|end|>", normalized=False)])
    tokenizer.add_tokens([
        AddedToken("<think>", normalized=False), AddedToken("<thinking>", normalized=False),
        AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False),
        AddedToken("<both>", lstrip=True, rstrip=True, normalized=True),
        AddedToken("word", single_word=True, normalized=False), AddedToken("\u00e9t", normalized=True),
    ])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[
            ("<|begin|>", tokenizer.token_to_id("<|begin|>"))]),
    ])
    path.parent.mkdir(exist_ok=True)
    tokenizer.save(str(path))


def main() -> None:
    byte_level = TESTS / "data/byte-level/tokenizer.json"
    if not byte_level.exists():
        train_byte_level(byte_level)
    files = {"tinystories-656k": TESTS / "data/tinystories-656k/tokenizer.json", "byte-level": byte_level,
             "characters": pathlib.Path(sys.argv[1])}
    with open(TESTS / "parity/tokenizer_golden.jsonl", "w", encoding="utf-8") as out:
        for name, path in files.items():
            tokenizer = Tokenizer.from_file(str(path))
            added = tokenizer.get_added_tokens_decoder()
            rng = random.Random(name)
            for text in FIXED_TEXTS + [random_text(rng, [token.content for token in added.values()]) for _ in range(56)]:
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                plain = [i for i in ids if i not in added or not added[i].special]
                out.write(json.dumps({
                    "tokenizer": name, "text": text, "ids": ids,
                    "ids_with_special": tokenizer.encode(text).ids,
                    "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                    "decoded_without_special": tokenizer.decode(plain, skip_special_tokens=False),
                }) + "\n")


if __name__ == "__main__":
    main()
