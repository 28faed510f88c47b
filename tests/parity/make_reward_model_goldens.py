"""Writes tests/parity/reward_models: tiny random reward models, as transformers saves them, and what torch computes with them in float64.

    python tests/parity/make_reward_model_goldens.py TOKENIZER

needs torch, transformers and safetensors; TOKENIZER is the tokenizer.json of a run that began with `cold_start.tokenizer = characters`.
Each folder has config.json, the weights in bf16, and golden.safetensors: `ids` and `sequence_starts` of the texts, their `scores`
(each alone), the `loss` (see LOSSES), its `gradient.NAME`, and `after.NAME`, the weights after one step of AdamW on it (lr 0.01, eps 1e-3,
weight decay 0.1 on tensors of two dimensions). texts.json, of the first, has `text` and `score` through the tokenizer.
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, LlamaConfig, Qwen2Config, Qwen3Config

FOLDER = pathlib.Path(__file__).parent / "reward_models"
LENGTHS = [9, 5, 16, 17, 1, 12]
TEXTS = ["What is 2+3?5", "What is 2+3?<think>2 and 3</think>It is 5.", "What is 2+3?It is 5."]


def pairs(scores):  # texts 0 over 1, 2 over 3, 4 over 5
    return -torch.nn.functional.logsigmoid(scores[0::2] - scores[1::2]).mean()


def labels(scores):  # the even ones are safe
    signs = torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)
    return -torch.nn.functional.logsigmoid(signs * scores).mean()


def write(name, config, loss_of, seed):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            spread, middle = (0.3, 1.0) if "norm" in key else (0.3, 0.0)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + middle)
    model.to(torch.bfloat16).save_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    texts = [torch.randint(0, config.vocab_size, (length,), generator=generator) for length in LENGTHS]
    scores = torch.cat([model(text[None]).logits[0] for text in texts])
    loss = loss_of(scores)
    loss.backward()
    golden = {"ids": torch.cat(texts), "sequence_starts": torch.tensor([0] + LENGTHS).cumsum(0), "scores": scores.detach(), "loss": loss.detach()}
    golden |= {"gradient." + key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    torch.optim.AdamW([{"params": matrices}, {"params": others, "weight_decay": 0.0}], lr=0.01, eps=1e-3, weight_decay=0.1).step()
    golden |= {"after." + key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    save_file({key: value.to(torch.int64 if value.dtype == torch.int64 else torch.float32).contiguous() for key, value in golden.items()},
              folder / "golden.safetensors")
    print(f"{name}: loss {loss.item():.4f}, scores {[round(s, 3) for s in scores.tolist()]}")


def shape(**changes):
    return dict(vocab_size=104, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
                max_position_embeddings=64, bos_token_id=None, eos_token_id=0, pad_token_id=None, num_labels=1, rms_norm_eps=1e-5, **changes)


def write_texts(folder, tokenizer):
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    shutil.copy(tokenizer, folder / "tokenizer.json")
    encode = Tokenizer.from_file(str(tokenizer)).encode
    with torch.no_grad():
        rows = [{"text": text, "score": model(torch.tensor([encode(text).ids + [0]])).logits.item()} for text in TEXTS]
    (folder / "texts.json").write_text(json.dumps(rows, indent=1) + "\n")


def main():
    torch.set_num_threads(1)
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    write("llama", LlamaConfig(**shape(**rope)), pairs, 1)
    write("qwen2", Qwen2Config(**shape(tie_word_embeddings=True, **rope)), labels, 2)
    write("qwen3", Qwen3Config(**shape(head_dim=16, **rope)), pairs, 3)
    write_texts(FOLDER / "llama", sys.argv[1])


if __name__ == "__main__":
    main()
