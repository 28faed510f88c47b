"""Writes model_llama.safetensors, model_qwen2.safetensors and model_qwen3.safetensors: tiny random models with their log-probabilities, entropies and
gradients as Hugging Face transformers and PyTorch's autograd compute them in float64.

Needs torch, transformers and safetensors: python3 tests/parity/make_model_golden.py
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

FOLDER = pathlib.Path(__file__).parent
TEMPERATURE = 0.75
LENGTHS = [1, 5, 21, 34]


def write(name, model):
    generator = torch.Generator().manual_seed(7)
    model = model.double()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            spread = 0.3 if parameter.dim() == 1 else 0.25
            values = torch.randn(parameter.shape, generator=generator) * spread + (1.0 if "norm" in key else 0.0)
            parameter.copy_(values.bfloat16())  # exact in bf16, so that both compute types start from the same numbers
    vocabulary = model.config.vocab_size
    ids = [torch.randint(0, vocabulary, (length,), generator=generator) for length in LENGTHS]
    targets = torch.randint(0, vocabulary, (sum(LENGTHS),), generator=generator)
    grad_logp = torch.randn(sum(LENGTHS), generator=generator)
    logits = torch.cat([model(input_ids=sequence[None]).logits[0] for sequence in ids])
    log_softmax = torch.log_softmax(logits / TEMPERATURE, -1)
    logp = log_softmax.gather(-1, targets[:, None])[:, 0]
    (logp * grad_logp).sum().backward()
    tensors = {
        "ids": torch.cat(ids),
        "targets": targets,
        "grad_logp": grad_logp,
        "logits": logits.detach().float(),
        "logp": logp.detach().float(),
        "entropy": -(log_softmax.exp() * log_softmax).sum(-1).detach().float(),
    }
    for key, parameter in model.named_parameters():
        tensors["weight." + key] = parameter.detach().bfloat16()
        tensors["gradient." + key] = parameter.grad.float()
    metadata = {"lengths": json.dumps(LENGTHS), "temperature": str(TEMPERATURE)}
    save_file({key: value.contiguous() for key, value in tensors.items()}, FOLDER / f"model_{name}.safetensors", metadata)


COMMON = dict(max_position_embeddings=64, attn_implementation="eager")
write("llama", LlamaForCausalLM(LlamaConfig(
    vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    tie_word_embeddings=True, **COMMON)))
write("qwen2", Qwen2ForCausalLM(Qwen2Config(
    vocab_size=37, hidden_size=48, intermediate_size=40, num_hidden_layers=1, num_attention_heads=3,
    num_key_value_heads=1, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    tie_word_embeddings=False, **COMMON)))
write("qwen3", Qwen3ForCausalLM(Qwen3Config(
    vocab_size=37, hidden_size=32, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
    rms_norm_eps=1e-5, rope_parameters={"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16},
    tie_word_embeddings=False, **COMMON)))
