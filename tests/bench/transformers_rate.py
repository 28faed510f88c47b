"""Rates of `troupe generate` and of transformers' generate over one random checkpoint; see against_transformers.sh."""

import json
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers

transformers.utils.logging.disable_progress_bar()

PROMPT, COMPLETION = 64, 64
CASES = [("bf16", 16, 4.0), ("bf16", 1, 2.5), ("fp32", 16, None), ("fp32", 1, None)]  # dtype, batch, goal
REPEATS = 3
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def make_checkpoint(folder):
    """SmolLM2-135M with random weights whose logits differ enough for greedy choices to be clear."""
    if (folder / "model.safetensors").exists():
        return
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0, initializer_range=0.04, torch_dtype="float32",
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def write_tokenizer(folder):
    """The rows are ids: any tokenizer that knows them will do."""
    vocabulary = {chr(33 + i) if i < 90 else f"t{i}": i for i in range(49152)}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "post_processor": None, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }))


def troupe(program, folder, rows, dtype, tokens):
    """Completions and tokens/s of troupe generate at temperature 0."""
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in rows))
    words = [program, "generate", "--model", folder / "model", "--prompts", folder / "prompts.jsonl", "--out", folder / "out.jsonl",
             "--temperature", "0", "--max-tokens", str(tokens), "--dtype", dtype, "--slots", str(len(rows)),
             "--threads", str(torch.get_num_threads())]
    (folder / "out.jsonl").unlink(missing_ok=True)
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    out = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    return out, float(re.search(r"([\d.]+) tokens/s", done.stderr)[1])


def hugging_face(model, rows, tokens):
    ids = torch.tensor(rows)
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens,
                             pad_token_id=0)
    return out[:, ids.shape[1]:].tolist(), len(rows) * tokens / (time.perf_counter() - start)


def check_equal(program, folder, model, rows):
    """Greedy continuations and their log-probabilities in fp32."""
    ours, _ = troupe(program, folder, rows, "fp32", 16)
    theirs, _ = hugging_face(model, rows, 16)
    for row, mine, other in zip(rows, ours, theirs):
        assert mine["ids"] == other[: len(mine["ids"])], f"greedy continuations differ: {mine['ids']}, transformers: {other}"
        with torch.inference_mode():
            logits = model(torch.tensor([row + mine["ids"]])).logits[0, len(row) - 1 : -1].log_softmax(-1)
        expected = logits.gather(1, torch.tensor(mine["ids"])[:, None])[:, 0]
        worst = (expected - torch.tensor(mine["logprobs"])).abs().max().item()
        assert worst < 1e-4, f"log-probabilities differ by {worst}"


def main():
    program, folder, revision = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    make_checkpoint(folder / "model")
    write_tokenizer(folder / "model")
    generator = torch.Generator().manual_seed(2)
    prompts = torch.randint(1, 49152, (16, PROMPT), generator=generator).tolist()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    check_equal(program, folder, model, prompts[:3])
    for dtype, batch, goal in CASES:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=DTYPES[dtype]).eval()
        rows = prompts[:batch]
        hugging_face(model, rows, 4)
        pairs = [(troupe(program, folder, rows, dtype, COMPLETION), hugging_face(model, rows, COMPLETION)[1]) for _ in range(REPEATS)]
        for (out, _), _ in pairs:
            assert sum(len(row["ids"]) for row in out) == batch * COMPLETION, "a completion ended early"
        ours, theirs = (statistics.median(values) for values in zip(*((mine[1], other) for mine, other in pairs)))
        print(json.dumps({
            "benchmark": "generate_against_transformers", "dtype": dtype, "batch": batch, "ours_tokens_per_s": round(ours, 1),
            "transformers_tokens_per_s": round(theirs, 1), "ratio": round(ours / theirs, 2), "goal": goal,
            "parameters": {"model": "SmolLM2-135M, random", "prompt": PROMPT, "completion": COMPLETION, "repeats": REPEATS},
            "device": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
            "versions": f"transformers {transformers.__version__}, torch {torch.__version__}", "revision": revision,
        }), flush=True)


if __name__ == "__main__":
    main()
