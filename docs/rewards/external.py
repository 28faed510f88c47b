#!/usr/bin/env python3
"""A reward of one's own: a JSON object a line in, one a line out. Here: is the gold answer named, briefly?"""
import json
import sys

for line in sys.stdin:
    item = json.loads(line)  # {"row": {…}, "completion": "…", "tokens": 12, "cut_off": false}
    right = str(item["row"]["gold"]) in item["completion"]
    value = 1.0 if right and len(item["completion"]) < 200 else 0.0
    print(json.dumps({"value": value, "reason": "ok" if value else "wrong"}), flush=True)
