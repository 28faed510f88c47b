"""Writes tests/parity/families: a tiny random checkpoint of each family, as transformers saves it, and what transformers computes with it.

    python tests/parity/make_family_goldens.py

needs torch, transformers and safetensors. Each folder has config.json, generation_config.json and weights (one file or shards; fp32, bf16
or fp16), and golden.safetensors, all in fp32 on one thread: `ids`, the `logits` of every third and the `logprobs` of each but the first; `prompt` and
its greedy continuation `greedy` with `greedy_logprobs`.
"""

import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

FOLDER = pathlib.Path(__file__).parent / "families"
LENGTH, PROMPT, CONTINUATION = 96, 12, 48


def write(name, config, dtype, shards=False, seed=1):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            spread, middle = (0.3, 1.0) if "norm" in key else (0.3, 0.0) if parameter.dim() == 1 else (0.2, 0.0)
            parameter.copy_((torch.randn(parameter.shape, generator=generator) * spread + middle).to(dtype))
    model.to(dtype).save_pretrained(folder, max_shard_size="12KB" if shards else "1GB")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(0, config.vocab_size, (LENGTH,), generator=generator)
    greedy = ids[:PROMPT].tolist()
    with torch.no_grad():
        logits = model(ids[None]).logits[0]
        for _ in range(CONTINUATION):
            greedy.append(model(torch.tensor([greedy])).logits[0, -1].argmax().item())
        continued = model(torch.tensor([greedy])).logits[0]
    greedy = torch.tensor(greedy)
    logprobs = torch.log_softmax(logits[:-1], -1).gather(1, ids[1:, None])[:, 0]
    greedy_logprobs = torch.log_softmax(continued[:-1], -1).gather(1, greedy[1:, None])[PROMPT - 1:, 0]
    save_file({"ids": ids, "logits": logits[::3].contiguous(), "logprobs": logprobs.contiguous(), "prompt": ids[:PROMPT].clone(),
               "greedy": greedy[PROMPT:].clone(), "greedy_logprobs": greedy_logprobs.contiguous()}, folder / "golden.safetensors")
    narrowest = torch.topk(continued[PROMPT - 1:-1], 2).values.diff().abs().min().item()
    assert narrowest > 1e-3, f"{name}: a choice by {narrowest} may fall otherwise elsewhere: take another seed"
    print(f"{name}: logits up to {logits.abs().max():.1f}, narrowest choice {narrowest:.4f}, "
          f"{len(set(greedy.tolist()))} different tokens")


def shape(**changes):
    return dict(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                max_position_embeddings=256, bos_token_id=1, eos_token_id=2, rms_norm_eps=1e-5, **changes)


def rope(theta=10000.0, **scaling):
    return {"rope_type": "default", "rope_theta": theta, **scaling}


def main():
    torch.set_num_threads(1)
    write("llama", LlamaConfig(**shape(rope_parameters=rope())), torch.float32)
    write("llama3_rope", LlamaConfig(**shape(tie_word_embeddings=True, rope_parameters=rope(
        500000.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32))),
        torch.bfloat16)
    write("linear_rope", LlamaConfig(**shape(rope_parameters=rope(rope_type="linear", factor=4.0))), torch.float16)
    write("yarn_rope", LlamaConfig(**shape(rope_parameters=rope(
        rope_type="yarn", factor=8.0, original_max_position_embeddings=32))), torch.bfloat16)
    write("smollm2", LlamaConfig(**shape(tie_word_embeddings=True, rope_parameters=rope(100000.0)) | dict(
        hidden_size=48, num_attention_heads=3, num_key_value_heads=1)), torch.bfloat16)
    write("qwen2", Qwen2Config(**shape(rope_parameters=rope(1000000.0))), torch.bfloat16, shards=True)
    write("odd_sizes", Qwen2Config(**shape(rope_parameters=rope()) | dict(
        vocab_size=61, hidden_size=40, intermediate_size=37, num_attention_heads=5, num_key_value_heads=1)), torch.bfloat16)
    write("qwen2_5_yarn", Qwen2Config(**shape(tie_word_embeddings=True, rope_parameters=rope(
        1000000.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=16.0, beta_slow=2.0,
        attention_factor=1.25, truncate=False))), torch.bfloat16)
    write("qwen3", Qwen3Config(**shape(head_dim=16, tie_word_embeddings=True, rope_parameters=rope(1000000.0))), torch.bfloat16)
    write("qwen3_untied", Qwen3Config(**shape(head_dim=24, rope_parameters=rope(1000000.0))), torch.float16)


if __name__ == "__main__":
    main()
