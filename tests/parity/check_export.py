"""Loads two Hugging Face folders with transformers and prints the largest difference of their logits; exit 0 if it is 0.

    python tests/parity/check_export.py ORIGINAL EXPORTED

needs `pip install torch transformers`. Also compares the tokenizers on a few texts.
"""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["Once upon a time", "437+285=", "She said: \"I love you.\"\n"]


def main() -> int:
    models = [AutoModelForCausalLM.from_pretrained(folder).float().eval() for folder in sys.argv[1:3]]
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in sys.argv[1:3]]
    ids = torch.randint(0, models[0].config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first, second = (model(ids).logits for model in models)
    difference = (first - second).abs().max().item()
    same_ids = all(tokenizers[0](text).input_ids == tokenizers[1](text).input_ids for text in TEXTS)
    print(f"largest logit difference {difference}, tokenizers {'agree' if same_ids else 'differ'}")
    return 0 if difference == 0 and same_ids else 1


if __name__ == "__main__":
    sys.exit(main())
