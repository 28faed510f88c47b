"""Checks the adapters of `troupe sft CONFIG --lora.rank R … --dump DIR` against PEFT in float64; exit 0 if they agree.

    python tests/parity/check_lora.py DIR BASE CHECKPOINT

BASE is the model that the run started from, CHECKPOINT a checkpoints/step-N of it. Needs `pip install torch transformers peft`. With PEFT's
own adapters set to weights_before it computes the loss and autograd's gradients; then loads CHECKPOINT/adapter as PEFT does and
compares its logits with those of CHECKPOINT/hf.
"""

import sys

import torch
from check_dump import GRADIENT_BOUND, LOGPROB_BOUND, forward, worst
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).double().eval()


def main() -> int:
    dump, base, checkpoint = sys.argv[1:4]
    batch, seen, gradients, before = (load_file(f"{dump}/{name}.safetensors") for name in ("batch", "forward", "gradients", "weights_before"))
    model = PeftModel.from_pretrained(load(base), f"{checkpoint}/adapter", is_trainable=True).double().eval()
    parameters = {name.replace(".default", ""): value for name, value in model.named_parameters() if value.requires_grad}
    assert set(parameters) == set(before), set(parameters) ^ set(before)

    ids = torch.arange(32)[None] % model.config.vocab_size
    merged = load(f"{checkpoint}/hf")
    with torch.no_grad():
        logits = worst([(model(ids).logits, merged(ids).logits)])
        for name, value in before.items():
            parameters[name].copy_(value)
    mask = batch["completion_mask"]
    logprobs, _ = forward(model, batch, 1.0)
    loss = -(batch["token_weights"][mask].double() * logprobs).sum()
    loss.backward()
    largest = max(value.abs().max().item() for value in gradients.values())
    found = {
        "logits of the merged model": (logits, LOGPROB_BOUND),
        "log-probabilities": (worst([(logprobs, seen["logprobs"][mask])]), LOGPROB_BOUND),
        "loss": (abs(loss.item() - seen["loss"].item()), LOGPROB_BOUND),
        "gradients, of the largest": (worst((parameters[name].grad, gradients[name]) for name in gradients) / largest, GRADIENT_BOUND),
    }
    for what, (difference, bound) in found.items():
        print(f"{what}: largest difference {difference:.3g}, bound {bound:.0e}{'' if difference <= bound else '  TOO LARGE'}")
    return 0 if all(difference <= bound for difference, bound in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
