"""Holds a reward model that Troupe exported, and what `troupe grade` says with it, against transformers in float64.

    python tests/parity/check_reward_model.py HF_FOLDER ROWS.jsonl SCORES.jsonl
    python tests/parity/check_reward_model.py HF_FOLDER --dump DIR BATCH

needs torch, transformers and safetensors. Rows have `prompt` and `completion`, and the model's form is plain text. DIR is what
`troupe reward-model --dump` wrote of a step on BATCH comparisons; loss and every gradient are computed again. Exit 0 where scores agree
to 1e-4, and loss and gradients to 1e-4 of the largest.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification


def load(folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    assert model.config.num_labels == 1
    return model


def check_scores(folder, rows, scores):
    # The file as it stands: AutoTokenizer rebuilds some families' by rules of its own.
    model, tokenizer, worst = load(folder), Tokenizer.from_file(folder + "/tokenizer.json"), 0.0
    end = model.config.eos_token_id
    for row, line in zip(map(json.loads, open(rows)), map(json.loads, open(scores)), strict=True):
        ids = tokenizer.encode(row["prompt"] + row["completion"]).ids + [end]
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits.item()
        worst = max(worst, abs(expected - line["reward"]))
    print(f"largest difference of a score {worst:.2e}")
    return worst < 1e-4


def check_dump(folder, dump, count):
    model = load(folder)
    batch, forward, gradients, weights = (load_file(dump / f"{name}.safetensors") for name in ("batch", "forward", "gradients", "weights_before"))
    missing = model.load_state_dict({key: value.double() for key, value in weights.items()}, strict=False)
    assert not missing.unexpected_keys and not missing.missing_keys, missing
    starts = batch["sequence_starts"].tolist()
    scores = torch.cat([model(batch["ids"][None, a:b]).logits[0] for a, b in zip(starts, starts[1:])])
    assert len(scores) == 2 * count
    loss = -torch.nn.functional.logsigmoid(scores[0::2] - scores[1::2]).mean()
    loss.backward()
    worst = {"scores": (scores - batch["rewards"]).abs().max().item(), "loss": abs(loss.item() - forward["loss"].item())}
    largest = max(parameter.grad.abs().max().item() for parameter in model.parameters() if parameter.grad is not None)
    for key, parameter in model.named_parameters():
        worst["gradients"] = max(worst.get("gradients", 0.0), (parameter.grad - gradients[key]).abs().max().item() / largest)
    print(", ".join(f"{key} differ by {value:.2e}" for key, value in worst.items()))
    return all(value < 1e-4 for value in worst.values())


if __name__ == "__main__":
    if sys.argv[2] == "--dump":
        sys.exit(0 if check_dump(sys.argv[1], pathlib.Path(sys.argv[3]), int(sys.argv[4])) else 1)
    sys.exit(0 if check_scores(*sys.argv[1:4]) else 1)
