"""The TRL side of against_trl.sh: a GRPO step of trl.GRPOTrainer on the CPU, and the work that it and Troupe share.

  trl_step.py prepare DIR TOKENIZER   writes DIR/model (random weights, TOKENIZER's files) and DIR/prompts.jsonl
  trl_step.py measure DIR DTYPE STEPS  prints a JSON line: seconds a step of TRL with fp32 or bf16 (autocast) compute
  trl_step.py bound DIR               prints a JSON line: seconds that the step's matrix products take at the rate of torch.mm
"""

import json
import os
import pathlib
import shutil
import statistics
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch  # noqa: E402

PROMPTS, GROUP, TOKENS = 8, 8, 128
THREADS = len(os.sched_getaffinity(0))


def prepare(folder: pathlib.Path, tokenizer_folder: pathlib.Path) -> None:
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    # No end-of-text id: Troupe then generates all tokens, as TRL is made to below.
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=256, intermediate_size=704, num_hidden_layers=6,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
                         bos_token_id=None, eos_token_id=None)
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder / "model")
    for file in tokenizer_folder.glob("*token*.json"):
        shutil.copy(file, folder / "model")
    with open(folder / "prompts.jsonl", "w") as out:
        for i in range(256):
            out.write(json.dumps({"question": f"What is {i} plus {i + 1}?", "answer": str(2 * i + 1)}) + "\n")


def measure(folder: pathlib.Path, dtype: str, steps: int) -> None:
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(THREADS)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    rows = [json.loads(line) for line in open(folder / "prompts.jsonl")]
    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            ends.append(time.monotonic())

    args = GRPOConfig(output_dir=str(folder / "trl_out"), per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP,
                      max_completion_length=TOKENS, generation_kwargs={"min_new_tokens": TOKENS}, max_steps=steps + 1,
                      logging_steps=1, report_to=[], save_strategy="no", use_cpu=True, beta=0.04, temperature=1.0,
                      bf16=dtype == "bf16", gradient_checkpointing=False, disable_tqdm=True, seed=1)
    trainer = GRPOTrainer(model=str(folder / "model"), processing_class=tokenizer, args=args, callbacks=[Clock()],
                          reward_funcs=lambda completions, **_: [len(set(text)) / 50 for text in completions],
                          train_dataset=Dataset.from_list([{"prompt": row["question"]} for row in rows]))
    stdout, sys.stdout = sys.stdout, sys.stderr  # the trainer's own lines
    trainer.train()
    sys.stdout = stdout
    lengths = {entry["completions/mean_length"] for entry in trainer.state.log_history if "completions/mean_length" in entry}
    if lengths != {float(TOKENS)}:
        raise SystemExit(f"completions of TRL have {lengths} tokens, not {TOKENS}: the two sides did not do the same work")
    # The first step warms up; TRL's own count starts at the end of it.
    seconds = [b - a for a, b in zip(ends, ends[1:])]
    print(json.dumps({"s_per_step": round(statistics.median(seconds), 3), "steps": len(seconds)}))


def bound(folder: pathlib.Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    torch.set_num_threads(THREADS)
    c = AutoConfig.from_pretrained(folder / "model")
    head_size = c.hidden_size // c.num_attention_heads
    layer = [(c.hidden_size, (c.num_attention_heads + 2 * c.num_key_value_heads) * head_size), (c.hidden_size, c.hidden_size),
             (c.hidden_size, 2 * c.intermediate_size), (c.intermediate_size, c.hidden_size)]
    shapes = layer * c.num_hidden_layers + [(c.hidden_size, c.vocab_size)]
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    prompt = len(tokenizer(json.loads(open(folder / "prompts.jsonl").readline())["question"])["input_ids"])
    sequences = PROMPTS * GROUP
    # Rows through the model: once to draw each token, once for the reference, and forward and backward (twice as much).
    rows = sequences * (TOKENS + 4 * (prompt + TOKENS))
    result = {"flop": rows * sum(2 * a * b for a, b in shapes)}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        products = [(torch.randn(4096, a).to(dtype), torch.randn(a, b).to(dtype)) for a, b in shapes]
        times = []
        for _ in range(6):
            start = time.monotonic()
            for x, w in products:
                x @ w
            times.append(time.monotonic() - start)
        result[f"{name}_gflop_per_s"] = round(4096 * sum(2 * a * b for a, b in shapes) / min(times[1:]) / 1e9, 1)
        result[f"{name}_s"] = round(result["flop"] / result[f"{name}_gflop_per_s"] / 1e9, 3)
    print(json.dumps(result))


if __name__ == "__main__":
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "prepare":
        prepare(folder, pathlib.Path(sys.argv[3]))
    elif command == "measure":
        measure(folder, sys.argv[3], int(sys.argv[4]))
    else:
        bound(folder)
