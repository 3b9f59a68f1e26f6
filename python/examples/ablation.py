"""What each pass is worth: time of a decode step with the pass left out, against all passes.

    pip install graver-compiler matplotlib
    python ablation.py [MODEL [PICTURE.png]]
"""

import sys
import time

import graver


def seconds(session, steps=200):
    """The least time of a step, which noise only adds to."""
    session.reset()
    session.append([1])
    best = float("inf")
    for _ in range(steps):
        begun = time.perf_counter()
        session.append([2])
        best = min(best, time.perf_counter() - begun)
    return best


def ablation(model):
    """Pairs of a pass and the time of a step without it, divided by that with all passes."""
    passes = [p["pass"] for p in model.explain()["passes"] if any(c["fused"] for c in p["candidates"])]
    variants = {name: model.compile(without=[name]).session() for name in passes}
    variants["no pass at all"] = model.compile(fuse=False).session()
    everything = seconds(model.compile().session())
    return [(name, seconds(session) / everything) for name, session in variants.items()]


def plot(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names, ratios = zip(*sorted(rows, key=lambda row: row[1]))
    figure, axes = pyplot.subplots(figsize=(7, 0.35 * len(rows) + 1))
    axes.barh(names, ratios)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time of a step without the pass ÷ with all passes")
    figure.savefig(path, bbox_inches="tight", dpi=150)


if __name__ == "__main__":
    model = graver.Model(sys.argv[1]) if len(sys.argv) > 1 else graver.Model()
    rows = ablation(model)
    for name, ratio in rows:
        print(f"{name:24} {ratio:.3f}")
    if len(sys.argv) > 2:
        plot(rows, sys.argv[2])
