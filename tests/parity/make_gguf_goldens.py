"""Writes tests/parity/gguf: small GGUF files and what the reference reads in them.

    python tests/parity/make_gguf_goldens.py

needs numpy, gguf, safetensors, tokenizers, torch and transformers.
types.gguf: random blocks of every type, with scales that no quantization would give (negative, subnormal, zero);
types.safetensors: their values by gguf.quants.dequantize.
NAME.gguf: tests/parity/families/NAME as llama.cpp's convert_hf_to_gguf.py writes it (names, keys, the order of Llama's q and k rows), in
mixed types, with a tokenizer and a chat template; NAME.safetensors: ids and the `logits` of every eighth, as transformers computes them
with the dequantized weights put back under its own names.
tokenizers.json: texts and their ids, BOS before them, by Hugging Face tokenizers: of the tokenizer of those files, and of one with scores as
SentencePiece has them, which sentence_piece.gguf holds.
"""

import json
import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.convert_slow_tokenizer import generate_merges

PARITY = pathlib.Path(__file__).parent
FOLDER = PARITY / "gguf"
TYPES = [T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q4_K, T.Q6_K]
SCALES_AT = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q4_K: [0, 2], T.Q6_K: [208]}  # bytes of a block that hold an fp16 scale
NAMES = {"embed_tokens": "token_embd", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q",
         "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
         "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down", "norm": "output_norm", "lm_head": "output"}
CHAT = "{% for m in messages %}<|begin|>{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
TEXTS = ["Natalia sold 48 clips in April.", "  caf\u00e9 2024<|end|>\n\n<think>x = 3+4</think>", "e\u0301 \u6f22\u5b57 \U0001f600", "the  and then an ant</s>handed the end"]


def types():
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(FOLDER / "types.gguf", "none")
    values = {}
    for kind in TYPES:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        count = 6 if block > 1 else 96
        data = random.integers(0, 256, (count, size), dtype=np.uint8)
        if kind == T.F32:
            data = random.standard_normal(count).astype(np.float32).view(np.uint8).reshape(count, size)
        elif kind == T.F16:
            data = (random.standard_normal(count) * np.exp(random.uniform(-17, 5, count))).astype(np.float16).view(np.uint8).reshape(count, size)
        elif kind == T.BF16:
            data[:, 1] &= 0xBF  # finite
        for at in SCALES_AT.get(kind, []):
            scales = (random.standard_normal(count) * np.exp(random.uniform(-16, 2, count))).astype(np.float16)
            scales[0], scales[1] = np.float16(0), np.float16(-6e-8)
            data[:, at:at + 2] = scales.view(np.uint8).reshape(count, 2)
        raw = data.reshape(2, -1)
        writer.add_tensor(kind.name, raw.view(np.float32) if kind == T.F32 else raw.view(np.float16) if kind == T.F16 else raw,
                          raw_dtype=None if kind in (T.F32, T.F16) else kind)
        values[kind.name] = torch.from_numpy(gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(2, -1).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(values, FOLDER / "types.safetensors")


def renamed(name):
    parts = name.removeprefix("model.").split(".")
    kind = NAMES[parts[-2]]
    return (f"blk.{parts[1]}." if parts[0] == "layers" else "") + kind + "." + parts[-1]


def permuted(weights, heads):
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)


def restored(weights, heads):
    return weights.reshape(heads, weights.shape[0] // heads // 2, 2, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)


def byte_level():
    """tests/data/byte-level with four added tokens, as a tokenizer.json, and its tokens in order."""
    source = json.loads((PARITY.parent / "data/byte-level/tokenizer.json").read_text())
    vocabulary = sorted(source["model"]["vocab"], key=source["model"]["vocab"].get)
    source["added_tokens"] = [dict(id=400 + i, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=i < 2)
                              for i, content in enumerate(["<|begin|>", "<|end|>", "<think>", "</think>"])]
    return source, vocabulary


def add_tokenizer(writer, config):
    source, vocabulary = byte_level()
    special = [(token["content"], 3 if token["special"] else 4) for token in source["added_tokens"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    tokens = vocabulary + [name for name, _ in special]
    unused = config.vocab_size - len(tokens)
    writer.add_token_list(tokens + [f"[PAD{len(tokens) + i}]" for i in range(unused)])
    writer.add_token_types([1] * len(vocabulary) + [kind for _, kind in special] + [5] * unused)
    writer.add_token_merges([" ".join(merge) for merge in source["model"]["merges"]])
    writer.add_bos_token_id(len(vocabulary))
    writer.add_eos_token_id(len(vocabulary) + 1)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT)


def model(name, kinds):
    """`kinds`: the types that matrices are written in, by turns; norms and biases are F32."""
    source = PARITY / "families" / name
    config = AutoConfig.from_pretrained(source)
    config.vocab_size, config.bos_token_id, config.eos_token_id = 448, 400, 401
    reference = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(5)
    arch = config.model_type
    writer = gguf.GGUFWriter(FOLDER / f"{name}.gguf", arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if arch == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    else:
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    if arch == "llama":
        writer.add_vocab_size(config.vocab_size)
    add_tokenizer(writer, config)
    state, turn = {}, 0
    for key, parameter in reference.named_parameters():
        weights = (torch.randn(parameter.shape, generator=generator) * 0.2 + (1.0 if "norm" in key else 0.0)).numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(key.split(".")[-2])
        swaps = arch == "llama" and heads is not None
        if swaps:
            weights = permuted(weights, heads)
        kind = T.F32
        if weights.ndim == 2:
            kind, turn = kinds[turn % len(kinds)], turn + 1
        raw = gguf.quants.quantize(weights, kind)
        writer.add_tensor(renamed(key), raw, raw_dtype=None if kind in (T.F32, T.F16) else kind)
        values = gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(weights.shape)
        state[key] = torch.from_numpy((restored(values, heads) if swaps else values).copy())
    reference.load_state_dict(state, strict=False)
    reference.tie_weights()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ids = torch.randint(0, config.vocab_size, (40,), generator=generator)
    with torch.no_grad():
        logits = reference(ids[None]).logits[0]
    save_file({"ids": ids, "logits": logits[::8].contiguous()}, FOLDER / f"{name}.safetensors")


def sentence_piece():
    """A tokenizer as Llama 2's, of single characters and pieces with scores; the merges that transformers makes of these."""
    pieces = ["\u2581", "t", "h", "e", "a", "n", "d", "\u2581t", "he", "\u2581the", "th", "an", "and", "\u2581a", "\u2581an", "\u2581and", "nd"]
    scores = [-20.0, -21.0, -22.0, -23.0, -24.0, -25.0, -26.0, -1.0, -2.0, -4.0, -3.0, -6.0, -7.5, -5.0, -7.5, -9.0, -8.0]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    writer = gguf.GGUFWriter(FOLDER / "sentence_piece.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + scores)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(pieces))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = generate_merges({piece: vocabulary[piece] for piece in pieces}, dict(zip(pieces, scores)))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def tokenizers():
    golden = {"byte_level": [], "sentence_piece": []}
    source, _ = byte_level()
    for name, tokenizer in {"byte_level": Tokenizer.from_str(json.dumps(source)), "sentence_piece": sentence_piece()}.items():
        for text in TEXTS:
            golden[name].append({"text": text, "ids": tokenizer.encode(text).ids})
    (FOLDER / "tokenizers.json").write_text(json.dumps(golden, indent=1) + "\n")


def main():
    FOLDER.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    types()
    tokenizers()
    model("yarn_rope", [T.Q8_0, T.Q4_1, T.F16])
    model("qwen2", [T.Q4_0, T.Q8_0])
    model("qwen3", [T.BF16, T.Q4_1])


if __name__ == "__main__":
    main()
