"""Writes tinystories_golden.json: greedy continuation and log-probabilities of tests/data/tinystories-656k by transformers in float64.

Usage, in a virtual environment with torch and transformers: python make_tinystories_golden.py
"""
import json
import os

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

here = os.path.dirname(os.path.abspath(__file__))
folder = os.path.join(here, "..", "data", "tinystories-656k")
tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


def logprobs(ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


prompt = "Once upon a time"
ids = tokenizer.encode(prompt)
start = len(ids)
for _ in range(64):
    with torch.no_grad():
        ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
    if ids[-1] == 2:
        break
texts = ["Once upon a time, there was a little girl named Lily.", "The dog ran to the park.", "x = 3 + 4; é 漢字 \U0001f600"]
golden = {"prompt": prompt, "greedy_ids": ids[start:], "greedy_logprobs": logprobs(ids)[start - 1:],
          "texts": [{"text": t, "ids": tokenizer.encode(t), "logprobs": logprobs(tokenizer.encode(t))} for t in texts]}
json.dump(golden, open(os.path.join(here, "tinystories_golden.json"), "w"))
