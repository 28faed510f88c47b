"""Random texts that are hard on a tokenizer: scripts, combining marks, white space, control characters, written tokens."""

import random

SCRIPTS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x30, 0x39), (0xA0, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1EFF),
    (0x2000, 0x206F), (0x2150, 0x218F), (0x2460, 0x24FF), (0x2580, 0x259F), (0x3000, 0x30FF), (0x4E00, 0x4FFF),
    (0xAC00, 0xACFF), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFF00, 0xFFEF), (0x10000, 0x1007F), (0x1D400, 0x1D4FF),
    (0x1F100, 0x1F1FF), (0x1F300, 0x1F6FF), (0x20000, 0x200FF),
]
WORDS = ("Once upon a time there was little girl named Lily She loved to play outside in the park One day saw big red "
         "ball said mom happy friends don't it's we'll I'd you've 12 345 6789 3.14 1,000 x=7+5 e e\u0301 \u00e9").split()
SPACES = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n", "\u00a0", "\u2003", "\u3000", "\u2028"]


def random_text(rng: random.Random, tokens: list[str]) -> str:
    """A text of up to about 40 parts; `tokens` are the added tokens of the tokenizer, written into some texts."""
    parts = []
    for _ in range(rng.choice([0, 1, 2, 3, 5, 8, 13, 20, 40])):
        kind = rng.random()
        if kind < 0.35:
            parts.append(rng.choice(WORDS))
        elif kind < 0.6:
            parts.append(rng.choice(SPACES))
        elif kind < 0.72 and tokens:
            token = rng.choice(tokens)
            parts.append(token if rng.random() < 0.8 else token[: rng.randrange(len(token) + 1)])
        elif kind < 0.77:
            parts.append(rng.choice(["\u2581", "<0x0A>", "<", "|>", "</", "'s", "'", "\x00", "\x7f", "\ufeff", "\u200d"]))
        else:
            low, high = rng.choice(SCRIPTS)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4))))
        if rng.random() < 0.3:
            parts.append(" ")
    return "".join(parts)
