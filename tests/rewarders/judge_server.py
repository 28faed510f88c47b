"""A chat-completions server for tests of the judge: what it answers is what the prompt asks it for. It prints its port. With the files of a
certificate and its key as arguments it speaks HTTPS.

The prompt's first word chooses: `score N` replies with [[N]], `word W` with [[ W ]]; `busy N` is 429 for the first N times, `broken N` 500 (and then
both score 1); `refuse` is 401, `garbage` no JSON, `silent` a reply without a score, `stall` says nothing, `drip` a byte now and then. `echo` scores
how often it was asked, `most` how many were asked at once so far, `slow` takes 0.3 s; `key`, `temperature` and `tokens` tell what they were asked with.
"""

import collections
import http.server
import json
import ssl
import sys
import threading
import time

asked = collections.Counter()
lock = threading.Lock()
at_once = 0
most_at_once = 0


class Judge(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global at_once, most_at_once
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        with lock:
            asked[prompt] += 1
            at_once += 1
            most_at_once = max(most_at_once, at_once)
            times = asked[prompt]
        try:
            self.answer(prompt.split(), times, body)
        finally:
            with lock:
                at_once -= 1

    def answer(self, words, times, body):
        what, rest = words[0], words[1:]
        if what in ("busy", "broken") and times <= int(rest[0]):
            return self.send(429 if what == "busy" else 500, b"later", {"Retry-After": "0"})
        if what == "refuse":
            return self.send(401, b"who are you?")
        if what == "garbage":
            return self.send(200, b"<html>")
        if what == "stall":
            time.sleep(30)
        if what == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
            return None
        if what == "slow":
            time.sleep(0.3)
        scores = {"score": rest[0] if rest else "", "echo": times, "most": most_at_once, "key": len(self.headers.get("Authorization", "")),
                  "temperature": body["temperature"], "tokens": body["max_tokens"]}
        text = "I like it." if what == "silent" else f"First [[9]], then rating: [[{scores.get(what, 1)}]]"
        if what == "word":
            text = f"Verdict: [[ {rest[0]} ]]"
        return self.send(200, json.dumps({"model": body["model"], "choices": [{"message": {"role": "assistant", "content": text}}]}).encode())

    def send(self, status, content, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *unused):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Judge)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
