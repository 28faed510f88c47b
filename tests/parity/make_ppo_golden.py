#!/usr/bin/env python3
"""Writes tests/parity/ppo_golden.json: token rewards, advantages, returns, whitened advantages, and the critic's clipped loss with its
gradient, in float64 by PyTorch and autograd. The formulas are those of TRL's PPOTrainer (trl/trainer/ppo_trainer.py, 0.9 to 0.24):
rewards, GAE loop, masked_whiten with shifted mean, and vf_loss before vf_coef, over completions of several lengths."""

import json
import os

import torch

GAMMA, LAMBDA, CLIP, KL = 0.98, 0.9, 0.2, 0.05


def masked_mean(values, mask):
    return (values * mask).sum() / mask.sum()


def masked_whiten(values, mask):
    mean = masked_mean(values, mask)
    var = masked_mean((values - mean) ** 2, mask)
    var = var * (mask.sum() / (mask.sum() - 1))
    return (values - mean) * torch.rsqrt(var + 1e-8)


torch.manual_seed(7)
lengths, longest = [5, 1, 8, 3], 8
mask = torch.tensor([[float(t < n) for t in range(longest)] for n in lengths], dtype=torch.float64)
logp, ref = (-torch.rand(len(lengths), longest).mul(3).float() for _ in range(2))
values, new_values = (torch.randn(len(lengths), longest, dtype=torch.float64) for _ in range(2))
new_values = values + 0.3 * (new_values - values)
scores = torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=torch.float64)

rewards = -KL * (logp.double() - ref.double()) * mask
for row, length in enumerate(lengths):
    rewards[row, length - 1] += scores[row]
values = values * mask
lastgaelam, reversed_advantages = 0, []
for t in reversed(range(longest)):
    nextvalues = values[:, t + 1] if t < longest - 1 else 0.0
    delta = rewards[:, t] + GAMMA * nextvalues - values[:, t]
    lastgaelam = delta + GAMMA * LAMBDA * lastgaelam
    reversed_advantages.append(lastgaelam)
advantages = torch.stack(reversed_advantages[::-1], dim=1)
returns = advantages + values
whitened = masked_whiten(advantages, mask.bool())

new_values = new_values.clone().requires_grad_(True)
clipped = torch.clamp(new_values, values - CLIP, values + CLIP)
losses1, losses2 = (new_values - returns) ** 2, (clipped - returns) ** 2
loss = 0.5 * masked_mean(torch.max(losses1, losses2), mask)
loss.backward()
clip_count = int(((losses2 > losses1) * mask).sum())


def rows(tensor):
    return [tensor[row, :length].tolist() for row, length in enumerate(lengths)]


golden = {"gamma": GAMMA, "lambda": LAMBDA, "clip": CLIP, "kl_coef": KL, "scores": scores.tolist(), "logp": rows(logp), "ref": rows(ref), "values": rows(values),
          "rewards": rows(rewards), "advantages": rows(advantages), "returns": rows(returns), "whitened": rows(whitened),
          "new_values": rows(new_values.detach()), "value_loss": loss.item(), "value_grad": rows(new_values.grad), "clipped": clip_count}
with open(os.path.join(os.path.dirname(__file__), "ppo_golden.json"), "w") as out:
    json.dump(golden, out, indent=1)
