"""Writes adamw_golden.json: five updates of torch.optim.AdamW (with clip_grad_norm_) on a tiny model's tensors.

    python make_adamw_golden.py > adamw_golden.json      (torch 2.11; values are exact dyadic fractions, so both sides start alike)
"""
import json

import torch

LR, BETAS, EPS, DECAY, CLIP, STEPS = 0.01, (0.9, 0.95), 1e-8, 0.1, 1.0, 5
HIDDEN, INTERMEDIATE, VOCABULARY, HEAD = 16, 24, 11, 8
SHAPES = {
    "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
    "model.layers.0.input_layernorm.weight": (HIDDEN,),
    "model.layers.0.self_attn.q_proj.weight": (2 * HEAD, HIDDEN),
    "model.layers.0.self_attn.k_proj.weight": (HEAD, HIDDEN),
    "model.layers.0.self_attn.v_proj.weight": (HEAD, HIDDEN),
    "model.layers.0.self_attn.q_proj.bias": (2 * HEAD,),
    "model.layers.0.self_attn.k_proj.bias": (HEAD,),
    "model.layers.0.self_attn.v_proj.bias": (HEAD,),
    "model.layers.0.self_attn.o_proj.weight": (HIDDEN, 2 * HEAD),
    "model.layers.0.post_attention_layernorm.weight": (HIDDEN,),
    "model.layers.0.mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
    "model.layers.0.mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
    "model.layers.0.mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
    "model.norm.weight": (HIDDEN,),
}
KEPT = 7  # first elements of each tensor that go into the file


def start(tensor, shape):
    i = torch.arange(torch.Size(shape).numel()) + 1000 * tensor
    return (((i * 29) % 83 - 41) / 128.0).float().reshape(shape)


def gradient(tensor, shape, step):
    i = torch.arange(torch.Size(shape).numel()) + 1000 * tensor
    scale = 4096.0 if step == 3 else 64.0  # step 3 stays under the clip norm
    return (((i * 37 + step * 101) % 97 - 48) / scale).float().reshape(shape)


parameters = {name: torch.nn.Parameter(start(t, shape)) for t, (name, shape) in enumerate(SHAPES.items())}
optimizer = torch.optim.AdamW(
    [
        {"params": [p for p in parameters.values() if p.dim() >= 2], "weight_decay": DECAY},
        {"params": [p for p in parameters.values() if p.dim() < 2], "weight_decay": 0.0},
    ],
    lr=LR, betas=BETAS, eps=EPS, foreach=False, fused=False)

steps = []
for step in range(1, STEPS + 1):
    for t, (name, shape) in enumerate(SHAPES.items()):
        parameters[name].grad = gradient(t, shape, step)
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP, foreach=False).item()
    optimizer.step()
    steps.append({"grad_norm": norm, "parameters": {n: p.flatten()[:KEPT].tolist() for n, p in parameters.items()}})
moments = {
    n: {k: optimizer.state[p][k].flatten()[:KEPT].tolist() for k in ("exp_avg", "exp_avg_sq")} for n, p in parameters.items()
}
print(json.dumps({"source": f"torch {torch.__version__}", "steps": steps, "moments": moments}))
