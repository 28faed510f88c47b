"""Checks a dump of `troupe replay … --dump DIR` or a supervised stage (`troupe sft … --dump DIR`) against transformers in float64; exit 0 if it agrees.

    python tests/parity/check_dump.py DIR MODEL

MODEL is the Hugging Face folder whose config.json describes the model (RUN/start, or model.path). Needs `pip install torch
transformers`. From weights_before it computes log-probabilities and entropy of the completion tokens, the loss and its gradients,
sequence by sequence; from the gradients, for a first step, AdamW's weights_after.
"""

import configparser
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

# fp32 keeps 24 bits and sums run over a few hundred to a few thousand terms: 2^-24 * 1000, with room for deep models.
LOGPROB_BOUND = 1e-4
GRADIENT_BOUND = 1e-4  # of a tensor's largest gradient
WEIGHT_BOUND = 1e-6


def read_config(folder):
    with safe_open(f"{folder}/batch.safetensors", "pt") as file:
        metadata = file.metadata()
    config = configparser.ConfigParser(comment_prefixes=("#", ";"), interpolation=None)
    config.read_string(metadata["config"])
    return {f"{section}.{key}": value.strip('"') for section in config for key, value in config[section].items()}, metadata


def load_model(folder, weights):
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager").double().eval()
    missing, unexpected = model.load_state_dict({name: value.double() for name, value in weights.items()}, strict=False)
    assert not unexpected and all(name == "lm_head.weight" for name in missing), (missing, unexpected)
    model.tie_weights()
    return model


def estimate_kl(kind, difference):
    return {"k1": difference, "k2": difference**2 / 2, "k3": torch.exp(-difference) + difference - 1}[kind]


def grpo_loss(config, batch, mask, logprobs):
    assert config["loss.policy"] == "clip" and config["loss.kl_in"] == "loss", "this script knows loss.policy = clip, kl_in = loss"
    number = lambda key: float(config[key])
    of = lambda name: batch[name][mask].double()
    ratio, advantage = torch.exp(logprobs - of("old_logprobs")), of("advantages")
    clipped = ratio.clamp(1 - number("loss.clip_low"), 1 + number("loss.clip_high"))
    objective = torch.minimum(ratio * advantage, clipped * advantage)
    if number("loss.dual_clip") > 0:
        objective = torch.where(advantage < 0, torch.maximum(objective, number("loss.dual_clip") * advantage), objective)
    if number("loss.tis_cap") > 0:
        objective = torch.exp(of("old_logprobs") - of("sampler_logprobs")).clamp(max=number("loss.tis_cap")) * objective
    loss = -objective
    if "reference_logprobs" in batch:
        loss = loss + number("loss.kl_coef") * estimate_kl(config["loss.kl"], logprobs - of("reference_logprobs"))
    return (of("token_weights") * loss).sum()


def dpo_loss(config, batch, mask, logprobs):
    """Rafailov et al. 2023, eq. 7, of pairs of sequences, the chosen one first."""
    difference = torch.zeros(len(mask), dtype=torch.float64)
    difference = difference.masked_scatter(mask, (logprobs - batch["reference_logprobs"][mask].double()) * (batch["token_weights"][mask] != 0))
    starts = batch["sequence_starts"].tolist()
    ratios = torch.stack([difference[begin:end].sum() for begin, end in zip(starts, starts[1:])])
    rewards = float(config["dpo.beta"]) * ratios.view(-1, 2)
    return -torch.nn.functional.logsigmoid(rewards[:, 0] - rewards[:, 1]).mean()


def forward(model, batch, temperature):
    """Log-probability (with gradient) and entropy of the completion tokens, one sequence at a time."""
    logprobs, entropies = [], []
    starts = batch["sequence_starts"].tolist()
    for begin, end in zip(starts, starts[1:]):
        assert batch["positions"][begin:end].tolist() == list(range(end - begin))
        ids, mask = batch["ids"][begin:end], batch["completion_mask"][begin:end]
        assert not mask[0] and mask.sum() > 0
        distribution = (model(ids[None]).logits[0, :-1] / temperature).log_softmax(-1)
        taken = distribution.gather(1, ids[1:, None])[:, 0]
        logprobs.append(taken[mask[1:]])
        entropies.append(-(distribution.exp() * distribution).sum(-1)[mask[1:]].detach())
    return torch.cat(logprobs), torch.cat(entropies)


def adamw_after(config, before, gradients):
    """weights_after of a run's first update: the moments were zero."""
    number = lambda key: float(config[key])
    norm = torch.sqrt(sum((g.double() ** 2).sum() for g in gradients.values())).item()
    clip = min(1.0, number("optimizer.clip_norm") / (norm + 1e-6)) if number("optimizer.clip_norm") > 0 else 1.0
    lr = number("optimizer.lr") / max(1.0, number("optimizer.warmup_steps"))
    after = {}
    for name, weight in before.items():
        g = gradients[name].double() * clip
        decay = number("optimizer.weight_decay") if weight.dim() >= 2 else 0.0
        after[name] = weight.double() * (1 - lr * decay) - lr * g / (g.abs() + number("optimizer.eps"))
    return after


def worst(pairs):
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def main() -> int:
    folder, model_folder = sys.argv[1:3]
    config, metadata = read_config(folder)
    batch, seen, gradients, before, after = (
        load_file(f"{folder}/{name}.safetensors") for name in ("batch", "forward", "gradients", "weights_before", "weights_after"))
    mask, supervised = batch["completion_mask"], "advantages" not in batch
    model = load_model(model_folder, before)
    logprobs, entropy = forward(model, batch, 1.0 if supervised else float(config["sampling.temperature"]))
    if not supervised:
        loss = grpo_loss(config, batch, mask, logprobs)
    elif "reference_logprobs" in batch:
        loss = dpo_loss(config, batch, mask, logprobs)
    else:
        loss = -(batch["token_weights"][mask].double() * logprobs).sum()
    loss.backward()

    found = {
        "log-probabilities": (worst([(logprobs, seen["logprobs"][mask])]), LOGPROB_BOUND),
        "entropy": (worst([(entropy, seen["entropy"][mask])]), LOGPROB_BOUND),
        "loss": (abs(loss.item() - seen["loss"].item()), LOGPROB_BOUND),
    }
    parameters = dict(model.named_parameters())
    share = lambda name: worst([(parameters[name].grad, gradients[name])]) / max(gradients[name].abs().max().item(), 1e-12)
    found["gradients, of their tensor's largest"] = (max(share(name) for name in gradients), GRADIENT_BOUND)
    if metadata["step"] == "1" and metadata["update"] == "1":
        expected = adamw_after(config, before, gradients)
        found["AdamW"] = (worst((expected[name], after[name]) for name in after), WEIGHT_BOUND)
    for what, (difference, bound) in found.items():
        print(f"{what}: largest difference {difference:.3g}, bound {bound:.0e}{'' if difference <= bound else '  TOO LARGE'}")
    return 0 if all(difference <= bound for difference, bound in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
