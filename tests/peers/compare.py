#!/usr/bin/env python3
"""Time Graver and a peer in turn on the same weights, and print the ratios as Markdown. README.md beside this file says how."""
import argparse, json, os, shlex, statistics, subprocess, sys, time

# Types of weights, and what Graver is told; bf16r rounds activations as well, as llama.cpp does.
TYPES = {"bf16": [], "bf16r": ["--activations", "bf16"], "q8": ["--quantize", "q8"], "q4": ["--quantize", "q4"]}


class Cell:
    """What one table cell measures: a phase of one model in one type."""

    def __init__(self, args, name, checkpoint, kind, file, column):
        self.name, self.checkpoint, self.kind, self.file, self.column = name, checkpoint, kind, file, column
        self.prompt = args.prompt if column == "prefill" else 0
        self.gen = 0 if column == "prefill" else args.gen
        self.depth = args.depth if column == "depth" else 0
        self.graver, self.peer, self.share = [], [], []

    def ratio(self):
        return [g / p for g, p in zip(self.graver, self.peer)]


def output(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: exit code {done.returncode}")
    return done.stdout


def graver(args, cell, about):
    command = [args.graver, "bench", cell.checkpoint, "--json", "--fused-only", "--rounds", "1", "--threads", str(args.threads)]
    command += ["--prompt", str(cell.prompt), "--gen", str(cell.gen), "--depth", str(cell.depth), *TYPES[cell.kind]]
    report = json.loads(output(command + (["--kv", "f16"] if cell.depth else [])))
    about["graver"] = f"{report['processor']}, {report['kernels']} kernels, {report['threads']} threads"
    about["busy"].append(report["busy"])
    way = "pp" if cell.prompt else "tg"
    cell.share.append(report[way + "_share"])
    return report[way]


def llama_bench(args, cell, about):
    command = [args.llama_bench, "-m", cell.file, "-t", str(args.threads), "-p", str(cell.prompt), "-n", str(cell.gen)]
    rows = json.loads(output(command + ["-d", str(cell.depth), "-fa", "0,1", "-r", "1", "-o", "json"]))
    about["peer"] = f"llama.cpp {rows[0]['build_commit']} (build {rows[0]['build_number']})"
    return max(row["avg_ts"] for row in rows)


def runner(args, cell, about):
    command = [*shlex.split(args.runner), cell.file, "--threads", str(args.threads), "--prompt", str(cell.prompt)]
    result = json.loads(output(command + ["--gen", str(cell.gen), "--depth", str(cell.depth), "--repeat", "1"]).splitlines()[-1])
    about["peer"] = result.get("features", "a peer that does not say what it is")
    return result["pp" if cell.prompt else "tg"]


def cells(args):
    for pair in args.pair:
        name, checkpoint, files = pair[0], pair[1], dict(f.split("=", 1) for f in pair[2:])
        for kind, file in files.items():
            if kind not in TYPES:
                sys.exit(f"--pair {name}: {kind} is not one of {', '.join(TYPES)}")
            if not os.path.exists(file):
                sys.exit(f"--pair {name}: there is no file {file}")
            for column in args.columns.split(","):
                yield Cell(args, name, checkpoint, kind, file, column)


def measure(args, table, about):
    peer = runner if args.runner else llama_bench
    for round in range(args.rounds):
        for cell in table:
            # Each round begins with the other one.
            for side in (0, 1) if round % 2 == 0 else (1, 0):
                if side == 0:
                    cell.graver.append(graver(args, cell, about))
                else:
                    cell.peer.append(peer(args, cell, about))
            print(f"round {round + 1}: {cell.name} {cell.kind} {cell.column}: {cell.graver[-1]:.1f} / {cell.peer[-1]:.1f}", file=sys.stderr)


def shown(cell):
    """The ratio of the best runs, the range of the ratios within rounds, both best runs, and Graver's share of its ceiling at best."""
    if cell is None:
        return ""
    ratios = cell.ratio()
    wander = f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else ""
    best = max(cell.graver), max(cell.peer)
    return f"{best[0] / best[1]:.2f} ×{wander}; {best[0]:.1f} / {best[1]:.1f}; {100 * max(cell.share):.0f} %"


def markdown(args, table, about):
    heads = {"prefill": f"prefill {args.prompt}", "decode": "decode", "depth": f"decode behind {args.depth} tokens"}
    columns = [c for c in heads if c in args.columns.split(",")]
    lost = [busy["lost"] for busy in about["busy"]]
    steal = [busy["steal"] or 0 for busy in about["busy"]]
    yield f"Graver on {about['graver']}; peer: {args.peer_name or ''} {about['peer']}{'; ' + args.peer_flags if args.peer_flags else ''}."
    yield f"{args.rounds} rounds in turn on {args.threads} threads, {time.strftime('%Y-%m-%d')}: the ratio of the best runs (and the range of the ratios within rounds);"
    yield "tokens a second of Graver / peer at best; Graver's share of the nearer ceiling, of arithmetic or memory, measured between its runs."
    yield f"Graver's threads were off their processors for {100 * statistics.median(lost):.0f} % of the time (median; at most {100 * max(lost):.0f} %), steal was"
    yield f"{100 * max(steal):.0f} % at most.\n"
    yield "| shape (random weights) | type | " + " | ".join(heads[c] for c in columns) + " |"
    yield "|---|---|" + "---|" * len(columns)
    for name, kind in dict.fromkeys((c.name, c.kind) for c in table):
        of = {c.column: c for c in table if (c.name, c.kind) == (name, kind)}
        yield f"| {name} | {kind} | " + " | ".join(shown(of.get(c)) for c in columns) + " |"


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--graver", required=True, help="the graver command")
    peers = a.add_mutually_exclusive_group(required=True)
    peers.add_argument("--llama-bench", help="llama.cpp's own benchmark, compiled for this processor")
    peers.add_argument("--runner", help="a command that times another peer: see README.md")
    a.add_argument("--pair", nargs="+", action="append", required=True, metavar=("NAME CHECKPOINT", "TYPE=FILE"))
    a.add_argument("--columns", default="prefill,decode,depth")
    a.add_argument("--peer-name", help="name and version of the peer, for the heading")
    a.add_argument("--peer-flags", help="how the peer was built, for the heading")
    for name, default in (("threads", 2), ("rounds", 3), ("prompt", 512), ("gen", 32), ("depth", 7900)):
        a.add_argument("--" + name, type=int, default=default)
    args = a.parse_args()
    table, about = list(cells(args)), {"busy": []}
    measure(args, table, about)
    print("\n".join(markdown(args, table, about)))


main()
