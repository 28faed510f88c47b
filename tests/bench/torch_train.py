"""Tokens a second of a GRPO training step in PyTorch and transformers, at the shapes of train_bench; see against_torch_training.sh.

    torch_train.py [--model 0.5B] [--micro-tokens 8192] [--compile] [--samples 5]

Weights, gradients and Adam's moments are bf16, as a plain script has them: less memory traffic than Troupe's fp32 masters. The
log-probabilities are taken in chunks of 2,048 rows, recomputed in the backward, where all logits at once would not fit.
"""

import argparse
import json

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

LENGTH, TOKENS, CHUNK = 1024, 32768, 2048
SHAPES = {
    "0.5B": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2),
    "1.5B": dict(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2),
}


class TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, head, targets):
        logp, lse = (torch.empty(len(hidden), device="cuda", dtype=torch.float32) for _ in range(2))
        for at in range(0, len(hidden), CHUNK):
            rows = slice(at, at + CHUNK)
            logits = (hidden[rows] @ head.t()).float()
            lse[rows] = logits.logsumexp(-1)
            logp[rows] = logits.gather(-1, targets[rows, None])[:, 0] - lse[rows]
        ctx.save_for_backward(hidden, head, targets, lse)
        return logp

    @staticmethod
    def backward(ctx, grad):
        hidden, head, targets, lse = ctx.saved_tensors
        grad_hidden, grad_head = torch.empty_like(hidden), torch.zeros(head.shape, device="cuda", dtype=torch.float32)
        for at in range(0, len(hidden), CHUNK):
            rows = slice(at, at + CHUNK)
            p = torch.exp((hidden[rows] @ head.t()).float() - lse[rows, None]).neg_()
            p.scatter_add_(1, targets[rows, None], torch.ones_like(p[:, :1]))
            p = p.mul_(grad[rows, None]).to(hidden.dtype)
            grad_hidden[rows] = p @ head
            grad_head += p.t() @ hidden[rows]
        return grad_hidden, grad_head.to(head.dtype), None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=SHAPES, default="0.5B")
    parser.add_argument("--micro-tokens", type=int, default=8192)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--samples", type=int, default=5)
    options = parser.parse_args()

    torch.manual_seed(1)
    config = Qwen2Config(vocab_size=151936, tie_word_embeddings=True, max_position_embeddings=32768, **SHAPES[options.model])
    config._attn_implementation = "sdpa"
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = Qwen2ForCausalLM(config).train()
        torch.set_default_dtype(torch.float32)
    forward = torch.compile(model.model) if options.compile else model.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    ids = torch.randint(0, 151936, (TOKENS // LENGTH, LENGTH), device="cuda")
    advantages = torch.randn(TOKENS // LENGTH, 1, device="cuda")

    def step():
        rows = options.micro_tokens // LENGTH
        for at in range(0, len(ids), rows):
            part = ids[at:at + rows]
            hidden = forward(input_ids=part[:, :-1]).last_hidden_state
            logp = TokenLogprobs.apply(hidden.flatten(0, 1), model.lm_head.weight, part[:, 1:].flatten()).view(len(part), -1)
            ratio = torch.exp(logp - logp.detach())
            advantage = advantages[at:at + rows]
            loss = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).sum() / (len(ids) * (LENGTH - 1))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(3):
        step()
    torch.cuda.synchronize()
    seconds = []
    for _ in range(options.samples):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) * 1e-3)
    rates = sorted(TOKENS / each for each in seconds)
    print(json.dumps({"bench": "torch_train", "model": options.model, "gpu": torch.cuda.get_device_name(), "compiled": options.compile,
                      "torch": torch.__version__, "micro_tokens": options.micro_tokens, "tokens_per_s": round(rates[len(rates) // 2]),
                      "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1)}))


if __name__ == "__main__":
    main()
