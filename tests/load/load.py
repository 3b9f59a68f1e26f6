"""Load for any server that speaks OpenAI's API: many clients that stream at once, some of which hang up at random.

    python3 tests/load/load.py http://127.0.0.1:8080/v1 --clients 64 --seconds 600 --hang-up 0.33 [--key KEY] [--model NAME] [--pid PID]

Needs nothing but Python. Ends with a line of JSON, and fails where anything but 200 and 429 was answered, where an answer differs
from the same prompt's answer alone (temperature 0), or where a slot is still busy at the end (servers that have /metrics of ours).

Sums have another order in a step of many sequences than in one of a single sequence, so that where two tokens are nearly as likely another one
may be chosen than alone. Answers are compared up to the first token whose lead over the next one, alone, is under --lead (with servers that
report no probabilities: for --same characters).

With --pid, the memory of that process is looked at as well, once a second. --flat 2 fails where its median in the last third of the
time differs by more than 2 % from that in the third before.
"""

import argparse
import asyncio
import json
import random
import time
from statistics import median
from urllib.parse import urlparse

TEXTS = ["In the beginning", "Once upon a time", "The king said unto the people", "Write a letter", "And it came to pass", "A list of"]


def leads_of(logprobs):
    """For each token where its text begins, and how much likelier it is than the next one, as a difference of logarithms."""
    if not logprobs:
        return []
    leads = []
    for offset, best in zip(logprobs["text_offset"], logprobs["top_logprobs"]):
        # Tokens that are written alike are one entry.
        first, second = sorted([*best.values(), *best.values()][:max(2, len(best))], reverse=True)[:2]
        leads.append((offset, first - second))
    return leads


async def ask(url, path, key, body=None, hang_up_after=None, on_leads=None):
    """Status, pieces of text, and when each came. A stream is left after `hang_up_after` pieces; `on_leads` gets what is known of tokens."""
    place = urlparse(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port or 80)
    try:
        data = json.dumps(body).encode() if body is not None else b""
        head = f"{'POST' if body is not None else 'GET'} {path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        head += f"Authorization: Bearer {key}\r\n\r\n" if key else "\r\n"
        writer.write(head.encode() + data)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        if body is None or status != 200:
            return status, [(await reader.read()).decode()], []
        pieces, times = [], []
        leads = []
        async for line in reader:
            line = line.strip()
            if not line.startswith(b"data: ") or line == b"data: [DONE]":
                continue
            event = json.loads(line[6:])
            if "error" in event:
                return 500, [event["error"]["message"]], []
            if event["choices"]:
                leads.extend(leads_of(event["choices"][0].get("logprobs")))
            if event["choices"] and event["choices"][0].get("text"):
                pieces.append(event["choices"][0]["text"])
                times.append(time.monotonic())
            if hang_up_after is not None and len(pieces) >= hang_up_after:
                return 0, pieces, times
        if on_leads is not None:
            on_leads.extend(leads)
        return status, pieces, times
    finally:
        writer.close()


async def main(o):
    base = urlparse(o.url).path.rstrip("/")
    if not o.model:
        _, found, _ = await ask(o.url, base + "/models", o.key)
        text = found[0]
        o.model = json.loads(text[text.index("{"):text.rindex("}") + 1])["data"][0]["id"]
    body = lambda text: {"model": o.model, "prompt": text, "temperature": 0, "max_tokens": o.tokens, "stream": True}
    alone, certain = {}, {}
    for text in TEXTS:
        leads = []
        status, pieces, _ = await ask(o.url, base + "/completions", o.key, {**body(text), "logprobs": 2}, on_leads=leads)
        assert status == 200, (status, pieces)
        alone[text] = "".join(pieces)
        close = [offset for offset, lead in leads if lead < o.lead]
        certain[text] = min(close, default=len(alone[text])) if leads else o.same
        start = time.monotonic()
        _, _, times = await ask(o.url, base + "/completions", o.key, body(text))
        rate = len(times) / max(time.monotonic() - start, 1e-9)
    counts = {"answered": 0, "left": 0, "busy": 0, "failed": 0, "differ": 0, "pieces": 0, "compared": 0}
    failures, waits, memory = [], [], []
    end = time.monotonic() + o.seconds

    async def client(seed):
        draw = random.Random(seed)
        while time.monotonic() < end:
            text = draw.choice(TEXTS)
            leave = draw.randrange(o.tokens) if draw.random() < o.hang_up else None
            start = time.monotonic()
            try:
                status, pieces, times = await ask(o.url, base + "/completions", o.key, body(text), leave)
            except (OSError, ValueError, IndexError) as error:
                status, pieces, times = -1, [repr(error)], []
            counts["pieces"] += len(times)
            if times:
                waits.append(times[0] - start)
            if status == 429:
                counts["busy"] += 1
                await asyncio.sleep(draw.random())
            elif status in (0, 200):
                counts["answered" if status else "left"] += 1
                found = "".join(pieces)
                compared = min(certain[text], len(found) if leave is not None else certain[text])
                if found[:compared] != alone[text][:compared]:
                    counts["differ"] += 1
                    failures.append(f"{text!r}: {found[:compared]!r}, alone {alone[text][:compared]!r}")
                counts["compared"] += compared
            else:
                counts["failed"] += 1
                failures.append(f"{status}: {pieces[:1]}")

    async def watch():
        while o.pid and time.monotonic() < end:
            with open(f"/proc/{o.pid}/status") as status:
                memory.append(next(int(line.split()[1]) for line in status if line.startswith("VmRSS")))
            await asyncio.sleep(1)

    start = time.monotonic()
    await asyncio.gather(watch(), *(client(i) for i in range(o.clients)))
    took = time.monotonic() - start
    busy = 0.0
    for _ in range(50):
        status, metrics, _ = await ask(o.url, "/metrics", o.key)
        busy = sum(float(l.split()[1]) for l in metrics[0].splitlines() if l.startswith("graver_slots_busy "))
        if not busy:
            break
        await asyncio.sleep(0.1)
    growth = None
    if len(memory) > 8:
        third = len(memory) // 3
        growth = 100 * (median(memory[-third:]) / median(memory[-2 * third:-third]) - 1)
    waits.sort()
    report = {**counts, "seconds": round(took, 1), "pieces_per_second": round(counts["pieces"] / took, 1), "alone_per_second": round(rate, 1),
              "first_piece_median_ms": round(1000 * waits[len(waits) // 2]) if waits else None, "busy_slots_after": busy, "memory_mb": max(memory, default=0) // 1000, "memory_growth_percent": growth and round(growth, 2)}
    print(json.dumps(report))
    for failure in sorted(set(failures))[:5]:
        print(failure)
    bad = counts["failed"] or counts["differ"] or busy or not counts["answered"]
    return 1 if bad or (o.flat is not None and growth is not None and abs(growth) > o.flat) else 0


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("url")
parser.add_argument("--key")
parser.add_argument("--model")
parser.add_argument("--clients", type=int, default=64)
parser.add_argument("--seconds", type=float, default=60)
parser.add_argument("--hang-up", type=float, default=0.33, help="share of requests that are left before they are answered")
parser.add_argument("--tokens", type=int, default=48)
parser.add_argument("--lead", type=float, default=1e-2, help="lead of a token under which another one may be chosen")
parser.add_argument("--same", type=int, default=40, help="characters that have to be the same, for servers that report no probabilities")
parser.add_argument("--pid", type=int)
parser.add_argument("--flat", type=float, help="percent by which the memory of --pid may change")
raise SystemExit(asyncio.run(main(parser.parse_args())))
