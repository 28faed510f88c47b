"""Tokens a second of a training step of SmolLM2-135M's shape in PyTorch and transformers on this CPU; see against_torch_cpu.sh.

    torch_train_cpu.py [--dtype bf16] [--sequences 4] [--length 256] [--samples 3]

Weights, gradients and Adam's moments are of the dtype, as a plain script has them: in bf16 less memory traffic than Troupe's fp32 masters.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPE = dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
             max_position_embeddings=8192, rope_theta=100000.0, tie_word_embeddings=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--samples", type=int, default=3)
    options = parser.parse_args()

    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16 if options.dtype == "bf16" else torch.float32)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    ids = torch.randint(0, SHAPE["vocab_size"], (options.sequences, options.length))

    def step():
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    rates = []
    for _ in range(options.samples + 2):
        start = time.perf_counter()
        step()
        rates.append(ids.numel() / (time.perf_counter() - start))
    rates = sorted(rates[2:])
    print(json.dumps({"bench": "torch_train_cpu", "model": "135M", "dtype": options.dtype, "threads": torch.get_num_threads(),
                      "sequences": options.sequences, "length": options.length, "torch": torch.__version__,
                      "tokens_per_s": {"median": round(statistics.median(rates), 1), "best": round(rates[-1], 1), "samples": len(rates)}}))


if __name__ == "__main__":
    main()
