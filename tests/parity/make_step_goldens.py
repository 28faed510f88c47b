"""Writes tests/parity/families/*/steps.safetensors: one step each of SFT, GRPO and DPO from the checkpoints that make_family_goldens.py made, as
transformers, torch's autograd and torch's AdamW compute them in float64.

    python tests/parity/make_step_goldens.py

needs torch, transformers and safetensors. Two groups of three completions: `ids`, `sequence_starts`, `prompt_tokens` (one a sequence) and, of the
completion tokens, `trained` (SFT and DPO learn these), `sampler_logprobs`; `rewards` (one a sequence). DPO takes the pairs (0, 2) and (3, 4), the chosen
one first. The reference model is the checkpoint times 3/4. Of each of STAGES: `STAGE.loss`; of each parameter NAME `STAGE.norm.NAME`, the norm of its
gradient before clipping, and every 13th element of `STAGE.gradient.NAME` and of `STAGE.after.NAME`, its values behind AdamW.
"""

import copy
import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

FOLDER = pathlib.Path(__file__).parent / "families"
PROMPTS, COMPLETIONS = (7, 12), ((9, 1, 14), (5, 16, 8))
PAIRS = ((0, 2), (3, 4))
REWARDS = torch.tensor([[1.0, 0.0, 0.5], [0.25, 1.0, -1.0]], dtype=torch.float64)
TEMPERATURE, CLIP_LOW, CLIP_HIGH, KL_COEF, BETA = 0.75, 0.2, 0.28, 0.05, 0.25
# An eps as large as the clipped gradients: the update then says how large they are, not only which way they point.
ADAMW = dict(lr=0.01, betas=(0.9, 0.99), eps=0.01)
WEIGHT_DECAY, CLIP_NORM, EVERY = 0.1, 1.0, 13


def stay_in_float64():
    """transformers computes angles, norms and the soft-max of attention in fp32 whatever the model's dtype is."""

    def angles(self, x, position_ids):
        half = position_ids.double()[0, :, None] * self.inv_freq.double()[None]
        both = torch.cat((half, half), dim=-1)[None]
        return both.cos() * self.attention_scaling, both.sin() * self.attention_scaling

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    for module, family in ((modeling_llama, "Llama"), (modeling_qwen2, "Qwen2"), (modeling_qwen3, "Qwen3")):
        getattr(module, family + "RotaryEmbedding").forward = angles
        getattr(module, family + "RMSNorm").forward = norm
    torch.nn.functional.softmax = lambda x, dim, dtype=None: torch.softmax(x, dim)


def completion_logprobs(model, sequences, temperature=1.0):
    """One tensor a sequence."""
    result = []
    for ids, prompt in sequences:
        logprobs = (model(ids[None]).logits[0, :-1] / temperature).log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        result.append(logprobs[prompt - 1:])
    return result


def sft_loss(batch, model, reference):
    logprobs = torch.cat(completion_logprobs(model, batch["sequences"]))
    return -(logprobs * batch["trained"]).sum() / batch["trained"].sum()


def grpo_loss(batch, model, reference):
    """DeepSeekMath (arXiv:2402.03300) eq. 3 with clip-higher: the mean over completions of token means; k3 to the reference."""
    advantages = ((REWARDS - REWARDS.mean(1, keepdim=True)) / REWARDS.std(1, correction=0, keepdim=True)).flatten()
    with torch.no_grad():
        frozen = completion_logprobs(reference, batch["sequences"], TEMPERATURE)
    means = []
    for advantage, logprobs, sampled, fixed in zip(
            advantages, completion_logprobs(model, batch["sequences"], TEMPERATURE), batch["sampled"], frozen):
        ratio = (logprobs - sampled).exp()
        objective = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH) * advantage)
        means.append((objective - KL_COEF * ((fixed - logprobs).exp() - (fixed - logprobs) - 1)).mean())
    return -torch.stack(means).mean()


def dpo_loss(batch, model, reference):
    """Rafailov et al. 2023, eq. 7."""
    trained = batch["trained"].split([ids.numel() - prompt for ids, prompt in batch["sequences"]])
    with torch.no_grad():
        frozen = completion_logprobs(reference, batch["sequences"])
    ratios = [(a - b).mul(c).sum() for a, b, c in zip(completion_logprobs(model, batch["sequences"]), frozen, trained)]
    return -torch.stack([torch.nn.functional.logsigmoid(BETA * (ratios[a] - ratios[b])) for a, b in PAIRS]).mean()


STAGES = {"sft": sft_loss, "grpo": grpo_loss, "dpo": dpo_loss}


def batch_of(model, vocabulary, seed):
    generator = torch.Generator().manual_seed(seed)
    sequences = []
    for prompt, completions in zip(PROMPTS, COMPLETIONS):
        head = torch.randint(0, vocabulary, (prompt,), generator=generator)
        sequences += [(torch.cat([head, torch.randint(0, vocabulary, (n,), generator=generator)]), prompt) for n in completions]
    with torch.no_grad():
        logprobs = completion_logprobs(model, sequences, TEMPERATURE)
    # As older weights may have sampled them: some ratios are clipped, none lies at a bound, where a rounding would decide.
    sampled = []
    for one in logprobs:
        away = torch.rand(one.shape, generator=generator, dtype=torch.float64) * 0.8 - 0.4
        for bound in (1 - CLIP_LOW, 1 + CLIP_HIGH):
            away[(away.exp() - bound).abs() < 0.01] = 0.1
        sampled.append((one - away).float().double())
    trained = (torch.rand(sum(len(one) for one in logprobs), generator=generator) < 0.75).double()
    return {"sequences": sequences, "sampled": sampled, "trained": trained}


def step(golden, stage, batch, model, reference):
    model = copy.deepcopy(model)
    loss = STAGES[stage](batch, model, reference)
    loss.backward()
    golden[f"{stage}.loss"] = loss.detach()
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        golden[f"{stage}.norm.{name}"] = parameter.grad.norm()
        golden[f"{stage}.gradient.{name}"] = parameter.grad.flatten()[::EVERY].clone()
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP_NORM)
    matrices, vectors = ([p for p in parameters.values() if (p.dim() >= 2) == is_matrix] for is_matrix in (True, False))
    torch.optim.AdamW([{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}], **ADAMW).step()
    for name, parameter in parameters.items():
        golden[f"{stage}.after.{name}"] = parameter.detach().flatten()[::EVERY].clone()
    return f"{stage} loss {loss.item():.4f}, norm {norm.item():.2f}"


def write(folder, seed):
    load = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model, reference = load(), load()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(0.75)
    model, reference = model.double(), reference.double()
    batch = batch_of(model, model.config.vocab_size, seed)
    golden = {"trained": batch["trained"], "sampler_logprobs": torch.cat(batch["sampled"]), "rewards": REWARDS.flatten()}
    told = [step(golden, stage, batch, model, reference) for stage in STAGES]
    golden = {key: value.float().contiguous() for key, value in golden.items()}
    lengths = torch.tensor([0] + [ids.numel() for ids, _ in batch["sequences"]])
    golden |= {"ids": torch.cat([ids for ids, _ in batch["sequences"]]), "sequence_starts": lengths.cumsum(0),
               "prompt_tokens": torch.tensor([prompt for _, prompt in batch["sequences"]])}
    save_file(golden, folder / "steps.safetensors")
    print(f"{folder.name}: {'; '.join(told)}; {(folder / 'steps.safetensors').stat().st_size // 1024} KiB")


def main():
    torch.set_num_threads(1)
    stay_in_float64()
    for seed, folder in enumerate(sorted(FOLDER.iterdir())):
        write(folder, seed)


if __name__ == "__main__":
    main()
