"""Rates of `troupe generate` and of transformers' generate over one random checkpoint; see against_transformers.sh."""

import json
import platform
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

transformers.utils.logging.disable_progress_bar()

REPEATS = 3


@dataclass
class Case:
    dtype: str
    batch: int
    prompt: int
    completion: int
    goal: float | None = None


@dataclass
class Plan:
    name: str
    device: str
    config: transformers.PretrainedConfig
    cases: list[Case]
    generators: list  # transformers' ways: (name, function)

    def times(self, case):
        """How often ours gets the rows: its process begins anew, transformers' is warm."""
        return 1 if self.device == "cpu" else 8 if case.batch == 1 else 4


DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def smollm2():
    return transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0, initializer_range=0.04,
    )


def qwen25():
    return transformers.Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, max_position_embeddings=32768, rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0, initializer_range=0.04,
    )


def make_checkpoint(config, folder):
    """Random weights whose logits differ enough for greedy choices to be clear."""
    if (folder / "model.safetensors").exists():
        return
    torch.manual_seed(1)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


def write_tokenizer(folder, size):
    """The rows are ids: any tokenizer that knows them will do."""
    vocabulary = {chr(33 + i) if i < 90 else f"t{i}": i for i in range(size)}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "post_processor": None, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }))


def troupe(program, folder, device, rows, dtype, tokens, times=1):
    """Completions and tokens/s of troupe generate at temperature 0. `times` as many rows make its beginning matter less."""
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in rows * times))
    words = [program, "generate", "--model", folder / "model", "--prompts", folder / "prompts.jsonl", "--out", folder / "out.jsonl",
             "--temperature", "0", "--max-tokens", str(tokens), "--dtype", dtype, "--slots", str(len(rows)), "--device", device,
             "--threads", str(torch.get_num_threads())]
    (folder / "out.jsonl").unlink(missing_ok=True)
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"troupe generate ended with {done.returncode}:\n{done.stderr}")
    out = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    return out, float(re.search(r"([\d.]+) tokens/s", done.stderr)[1])


def load(folder, dtype, device):
    return transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=DTYPES[dtype]).eval().to(device)


def generate(model, rows, tokens, **options):
    ids = torch.tensor(rows, device=model.device)
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens,
                             pad_token_id=0, **options)
    return out[:, ids.shape[1]:].tolist()


def static_cache(model, rows, tokens):
    """With a cache of one size transformers compiles the decoding step."""
    return generate(model, rows, tokens, cache_implementation="static")


def continuous_batching(model, rows, tokens):
    config = transformers.GenerationConfig(max_new_tokens=tokens, do_sample=False, eos_token_id=-1, pad_token_id=0)
    room = transformers.generation.configuration_utils.ContinuousBatchingConfig(max_memory_percent=0.3)
    done = model.generate_batch(inputs=rows, generation_config=config, continuous_batching_config=room, persistent_manager=True)
    return [result.generated_tokens for result in done.values()]


def check_equal(program, folder, device, model, rows):
    """Greedy continuations and their log-probabilities in fp32; in bf16, where a GPU computes, the log-probabilities alone: as near to
    those in fp32 as transformers' own in bf16."""
    dtype = "fp32" if device == "cpu" else "bf16"
    ours, _ = troupe(program, folder, device, rows, dtype, 16)
    theirs = generate(model, rows, 16)
    rounded = model if device == "cpu" else load(folder, "bf16", device)
    for row, mine, other in zip(rows, ours, theirs):
        assert device != "cpu" or mine["ids"] == other[: len(mine["ids"])], f"greedy continuations differ: {mine['ids']}, transformers: {other}"

        def logprobs(of):
            with torch.inference_mode():
                logits = of(torch.tensor([row + mine["ids"]], device=device)).logits[0, len(row) - 1 : -1].float().log_softmax(-1)
            return logits.cpu().gather(1, torch.tensor(mine["ids"])[:, None])[:, 0]

        expected = logprobs(model)
        worst = (expected - torch.tensor(mine["logprobs"])).abs().max().item()
        bound = 1e-4 if device == "cpu" else 2 * (logprobs(rounded) - expected).abs().max().item() + 1e-2
        assert worst < bound, f"log-probabilities differ by {worst}, more than {bound}"


def seconds_of(function):
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def measure(program, folder, revision, plan, case, rows):
    model = load(folder, case.dtype, plan.device)
    for _, theirs in plan.generators:
        for _ in range(1 if plan.device == "cpu" else 2):  # compiled, warm
            theirs(model, rows, 4 if plan.device == "cpu" else case.completion)
    rates = {name: [] for name, _ in plan.generators}
    own = []
    for _ in range(REPEATS):
        out, rate = troupe(program, folder, plan.device, rows, case.dtype, case.completion, plan.times(case))
        assert sum(len(row["ids"]) for row in out) == len(rows) * plan.times(case) * case.completion, "a completion ended early"
        own.append(rate)
        for name, theirs in plan.generators:
            tokens, seconds = seconds_of(lambda: theirs(model, rows, case.completion))
            assert sum(map(len, tokens)) == len(rows) * case.completion, f"{name}: a completion ended early"
            rates[name].append(len(rows) * case.completion / seconds)
    model.destroy_cached_continuous_batching_manager()
    ours = statistics.median(own)
    theirs = {name: statistics.median(values) for name, values in rates.items()}
    gpu = torch.cuda.get_device_name() if plan.device == "cuda" else None
    print(json.dumps({
        "benchmark": "generate_against_transformers", "dtype": case.dtype, "batch": case.batch, "ours_tokens_per_s": round(ours, 1),
        "transformers_tokens_per_s": {name: round(rate, 1) for name, rate in theirs.items()},
        "ratio": {name: round(ours / rate, 2) for name, rate in theirs.items()}, "goal": case.goal,
        "parameters": {"model": plan.name, "prompt": case.prompt, "completion": case.completion, "repeats": REPEATS},
        "device": gpu or f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "versions": f"transformers {transformers.__version__}, torch {torch.__version__}", "revision": revision,
    }), flush=True)


def plan_for(device):
    if device == "cpu":
        cases = [Case("bf16", 16, 64, 64, 4.0), Case("bf16", 1, 64, 64, 2.5), Case("fp32", 16, 64, 64), Case("fp32", 1, 64, 64)]
        return Plan("SmolLM2-135M, random", device, smollm2(), cases, [("generate", generate)])
    cases = [Case("bf16", 1, 64, 128), Case("bf16", 256, 512, 128)]
    ways = [("static cache", static_cache), ("generate_batch", continuous_batching)]
    return Plan("Qwen2.5-0.5B, random", device, qwen25(), cases, ways)


def main():
    program, folder, revision = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    plan = plan_for(sys.argv[4] if len(sys.argv) > 4 else "cpu")
    if len(sys.argv) > 5:
        plan.cases = [case for case in plan.cases if case.batch == int(sys.argv[5])]
    make_checkpoint(plan.config, folder / "model")
    write_tokenizer(folder / "model", plan.config.vocab_size)
    generator = torch.Generator().manual_seed(2)
    most = max(case.batch for case in plan.cases)
    prompts = torch.randint(1, plan.config.vocab_size, (most, max(case.prompt for case in plan.cases)), generator=generator).tolist()
    check_equal(program, folder, plan.device, load(folder, "fp32", plan.device), [row[:64] for row in prompts[:3]])
    for case in plan.cases:
        measure(program, folder, revision, plan, case, [row[: case.prompt] for row in prompts[: case.batch]])


if __name__ == "__main__":
    main()
