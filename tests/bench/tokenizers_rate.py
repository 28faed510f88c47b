"""The Hugging Face side of against_tokenizers.sh: trains byte-level BPEs with the split patterns of GPT-2, SmolLM, Llama 3 and Qwen 2
on the given texts, then times both tokenizers on every text, each on one thread, by processor time."""
import json, os, subprocess, sys, time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
STYLES = {"gpt2": (GPT2, None), "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]), None),
          "llama3": (split_then_bytes(LLAMA3), None), "qwen2": (split_then_bytes(QWEN2), normalizers.NFC())}

def train(folder, style, files):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, normalizer = STYLES[style]
    if normalizer: tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train(files, trainers.BpeTrainer(vocab_size=32000, special_tokens=["<|endoftext|>"], show_progress=False,
                                               initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(f"{folder}/tokenizer.json")

def hugging_face(folder, file, rounds):
    lines = open(file, encoding="utf-8", newline="\n").read().split("\n")
    size = os.path.getsize(file)
    rates = []
    for _ in range(rounds):
        tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        checksum = tokens = spent = 0
        for line in lines:
            start = time.thread_time()
            ids = tokenizer.encode(line, add_special_tokens=False).ids
            spent += time.thread_time() - start
            tokens += len(ids)
            for i in ids: checksum = (checksum * 31 + i) % 2**64
        rates.append(size / spent / 1e6)
    return sorted(rates)[len(rates) // 2], tokens, checksum

bench, work, sentencepiece, *files = sys.argv[1:]
result = {}
for style in [*STYLES, "sentencepiece"]:
    folder = sentencepiece if style == "sentencepiece" else f"{work}/{style}"
    if style in STYLES and not os.path.exists(f"{folder}/tokenizer.json"): train(folder, style, files)
    for file in files:
        theirs, tokens, checksum = hugging_face(folder, file, 3)
        ours = json.loads(subprocess.run([bench, folder, file, "3"], check=True, capture_output=True, text=True).stdout)
        if (ours["tokens"], ours["checksum"]) != (tokens, checksum):
            sys.exit(f"{style}, {file}: the ids differ: {ours['tokens']} tokens, Hugging Face {tokens}")
        rate = ours["mb_per_s"]["median"]
        result[f"{style}/{os.path.basename(file)}"] = {"mb_per_s": round(rate, 1), "hugging_face_mb_per_s": round(theirs, 2), "ratio": round(rate / theirs, 1)}
print(json.dumps({"bench": "against_tokenizers", **result, "lowest_ratio": min(r["ratio"] for r in result.values()), "goal": 10,
                  "device": ours["device"], "revision": ours["revision"]}))
