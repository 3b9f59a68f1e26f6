#!/usr/bin/env python3
"""Compare Graver's logits of a GGUF file with llama.cpp's, on what llama.cpp writes by itself. README.md beside this file says how.

    python3 tests/peers/logits.py --graver target/release/graver MODEL.gguf...

Needs llama-cpp-python and numpy, and room for each model as float32 in the folder for temporary files.
"""
import argparse, ctypes, subprocess, sys, tempfile
from pathlib import Path

import llama_cpp as L
import numpy as np

PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a little girl who",
    "def fibonacci(n):\n    ",
    "The three laws of thermodynamics are",
    "Dear Sir or Madam,\n\nI am writing to",
    "Water boils at a lower temperature on a mountain because",
    "1, 1, 2, 3, 5, 8, 13,",
    "In 1969, the first human beings",
    "A recipe for pancakes:\n\n1.",
    "Les trois mousquetaires est un roman",
]
# llama.cpp leads by this where the token that it chooses has to be Graver's, too.
CLEAR = 0.5


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("models", nargs="+", type=Path)
    args.add_argument("--graver", default="target/release/graver"), args.add_argument("--tokens", type=int, default=64)
    args.add_argument("--threads", type=int, default=2)
    args = args.parse_args()
    L.llama_log_set(QUIET, ctypes.c_void_p(0)), L.llama_backend_init()
    print("| file | compared | positions | mean KL (largest) | same top token | where the lead exceeds 0.5 |\n|---|---|--:|---|---|---|")
    failed = False
    for model in args.models:
        texts = continuations(model, args)
        theirs = np.concatenate([logits for _, _, logits in texts])
        ours = {name: compiled(args, model, flags, texts) for name, flags in (("int8", []), ("float32", ["--quantize", "none"]))}
        row(model, "llama.cpp, Graver with float32 activations", theirs, ours["float32"])
        row(model, "Graver with float32 activations, with int8", ours["float32"], ours["int8"])
        failed |= not row(model, "llama.cpp, Graver", theirs, ours["int8"])
    sys.exit(failed)


QUIET = L.llama_log_callback(lambda level, text, data: None)


def continuations(path, args):
    """For each prompt: its tokens with what llama.cpp appends greedily, where that begins, and the logits that it chose from."""
    model = L.llama_model_load_from_file(str(path).encode(), L.llama_model_default_params())
    assert model, f"llama.cpp cannot load {path}"
    vocab = L.llama_model_get_vocab(model)
    size = L.llama_vocab_n_tokens(vocab)
    p = L.llama_context_default_params()
    p.n_ctx, p.n_batch, p.n_ubatch, p.n_threads, p.n_threads_batch = 512, 512, 512, args.threads, args.threads
    ctx = L.llama_init_from_model(model, p)
    out = []
    for prompt in PROMPTS:
        L.llama_memory_clear(L.llama_get_memory(ctx), True)
        text, room = prompt.encode(), (L.llama_token * 256)()
        n = L.llama_tokenize(vocab, text, len(text), room, 256, True, False)
        tokens, logits = list(room[:n]), []
        fresh = tokens[:]
        for _ in range(args.tokens):
            ids = (L.llama_token * len(fresh))(*fresh)
            assert L.llama_decode(ctx, L.llama_batch_get_one(ids, len(fresh))) == 0
            logits.append(np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, -1), (size,)).copy())
            fresh = [int(logits[-1].argmax())]
            if L.llama_vocab_is_eog(vocab, fresh[0]):
                break
            tokens += fresh
        out.append((tokens[: n + len(logits) - 1], n, np.stack(logits)))
    L.llama_free(ctx), L.llama_model_free(model)
    return out


def compiled(args, model, flags, texts):
    """Graver's logits at the same positions, by the C interface of a library that it compiles."""
    with tempfile.TemporaryDirectory() as folder:
        lib = Path(folder) / "libmodel.so"
        subprocess.run([args.graver, "compile", model, "--emit", "so", "--quiet", *flags, "-o", lib], check=True, stdout=subprocess.DEVNULL)
        c = ctypes.CDLL(str(lib))
        c.graver_open.restype = ctypes.c_void_p
        c.graver_error.restype, c.graver_vocab.restype, c.graver_rows.restype = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t
        c.graver_logits.restype = ctypes.POINTER(ctypes.c_float)
        session = ctypes.c_void_p(c.graver_open(None))
        assert session, c.graver_error().decode()
        size, out = c.graver_vocab(session), []
        for tokens, begin, _ in texts:
            assert c.graver_reset(session, ctypes.c_size_t(0)) == 0
            ids = (ctypes.c_uint32 * len(tokens))(*tokens)
            fed = c.graver_feed(session, ctypes.c_size_t(0), ids, ctypes.c_size_t(len(tokens)), 2)
            assert fed == 0, c.graver_error().decode()
            rows = range(begin - 1, c.graver_rows(session))
            out += [np.ctypeslib.as_array(c.graver_logits(session, ctypes.c_size_t(i)), (size,)).copy() for i in rows]
        c.graver_close(session)
        return np.stack(out)


def row(model, what, a, b):
    """Prints how far `b` is from `a`; whether it is within bounds."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    log = lambda x: (x := x - x.max(-1, keepdims=True)) - np.log(np.exp(x).sum(-1, keepdims=True))
    p, q = log(a), log(b)
    kl = (np.exp(p) * (p - q)).sum(-1)
    two = np.sort(a, -1)[:, -2:]
    clear, same = two[:, 1] - two[:, 0] > CLEAR, a.argmax(-1) == b.argmax(-1)
    share = f"{same[clear].sum()} of {clear.sum()}"
    print(f"| {model.name} | {what} | {len(a)} | {kl.mean():.4f} ({kl.max():.2f}) | {100 * same.mean():.1f} % | {share} |", flush=True)
    return bool(same[clear].all() and kl.mean() < 0.01)


if __name__ == "__main__":
    main()
