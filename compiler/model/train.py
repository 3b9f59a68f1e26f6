#!/usr/bin/env python3
"""Train the small model that `graver run` uses when it is given none.

    python train.py TEXT OUT_DIR [--steps N]

TEXT is the King James Bible as Debian's `bible` command prints it (README.md beside this file has the command): one verse
a line, each behind its reference. OUT_DIR gets a plain Hugging Face checkpoint: config.json, model.safetensors in
bfloat16, tokenizer.json, tokenizer_config.json. Loss figures go to standard output.

A document is a chapter, a verse to a line. A training window begins with `<s>` at the start of some verse, so that text
generated after `<s>` begins like a verse; a chapter ends with `</s>`. Every 40th chapter is kept for validation.

Needs torch, transformers and tokenizers. One thread; the same seed gives the same data order, though not the same bits on
another processor.
"""
import argparse
import json
import math
import re
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

BOS, EOS = 0, 1
VOCAB = 1024
CONTEXT = 512
# 689,376 parameters: 1.38 MB in bfloat16, which with the tokenizer stays under 1.5 MB.
SHAPE = dict(hidden_size=96, intermediate_size=256, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=2)
TOKENS_PER_STEP = 2048
# The last part of the training sees the full context; the rest is cheaper with half of it.
LONG_FROM = 0.75


def chapters(path):
    """The text as a list of chapters, a verse to a line, without references."""
    found = {}
    for line in Path(path).read_text(encoding="latin-1").splitlines():
        match = re.match(r"([1-4]?[A-Za-z]+\d*?)(\d+):(\d+) +(.*)", line)
        if match:
            book, chapter, verse, text = match.groups()
            found.setdefault((book, int(chapter)), {})[int(verse)] = text.strip()
    return ["".join(verses[v] + "\n" for v in sorted(verses)) for verses in found.values()]


def train_tokenizer(texts, out):
    """Byte-level BPE with `<s>` put in front of every text; written to OUT as compact JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)])
    (out / "tokenizer.json").write_text(tokenizer.to_str())
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False}, indent=2) + "\n")
    return tokenizer


class Corpus:
    """Token ids of all chapters in a row, and the places where a verse starts."""

    def __init__(self, tokenizer, texts):
        ids, starts = [], []
        for text in texts:
            for verse in text.splitlines(keepends=True):
                starts.append(len(ids))
                ids += tokenizer.encode(verse, add_special_tokens=False).ids
            ids += [EOS, BOS]
        self.ids, self.starts = np.array(ids, dtype=np.int64), np.array(starts)
        self.text_bytes = sum(len(t.encode()) for t in texts)

    def window(self, start, length):
        """`<s>` and what follows `start`, `length + 1` ids in all; wraps around at the end."""
        rest = self.ids.take(range(start, start + length), mode="wrap")
        return np.concatenate([[BOS], rest])

    def batch(self, random, length):
        """Random windows, `[TOKENS_PER_STEP / length, length + 1]`."""
        starts = random.choice(self.starts, TOKENS_PER_STEP // length, replace=False)
        return torch.from_numpy(np.stack([self.window(s, length) for s in starts]))


def loss_of(model, batch):
    """Mean cross-entropy of every next token, in nats."""
    logits = model(batch[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def optimizers(model):
    """Muon for the matrices inside layers, AdamW for the embedding and the gains; each with its peak learning rate."""
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n]
    outer = [p for n, p in model.named_parameters() if p.ndim != 2 or ".layers." not in n]
    pair = [torch.optim.Muon(inner, lr=0.02, weight_decay=0.02),
            torch.optim.AdamW(outer, lr=0.006, betas=(0.9, 0.95), weight_decay=0.0)]
    return pair, [o.param_groups[0]["lr"] for o in pair]


def rate(step, steps):
    """A short warm-up, a plateau, and a fall to nothing over the second half."""
    return min(1.0, (step + 1) / 100, 2.0 * (steps - step) / steps)


def train(model, corpus, held_out, steps, seed):
    """Run the training; prints a line every hundred steps."""
    random = np.random.default_rng(seed)
    pair, peaks = optimizers(model)
    began, recent = time.time(), []
    for step in range(steps):
        for optimizer, peak in zip(pair, peaks):
            optimizer.param_groups[0]["lr"] = peak * rate(step, steps)
        loss = loss_of(model, corpus.batch(random, CONTEXT if step >= LONG_FROM * steps else CONTEXT // 2))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in pair:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:5}  train {np.mean(recent[-100:]):.4f}  {time.time() - began:6.0f} s", flush=True)
        if (step + 1) % 500 == 0:
            print(f"step {step + 1:5}  held out {evaluate(model, held_out):.4f}", flush=True)


def evaluate(model, corpus):
    """Mean loss over all of `corpus`, in windows of the full context that do not overlap."""
    total = 0.0
    places = range(0, len(corpus.ids) - CONTEXT, CONTEXT)
    with torch.inference_mode():
        for start in places:
            total += loss_of(model, torch.from_numpy(corpus.window(start, CONTEXT))[None]).item()
    return total / len(places)


def save(model, out):
    """Weights rounded to bfloat16, and a config in the layout of published checkpoints."""
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    path = out / "config.json"
    config = json.loads(path.read_text())
    config.pop("transformers_version", None)
    rope = config.pop("rope_parameters", None) or {}
    config["rope_theta"] = rope.get("rope_theta", 10000.0)
    config["torch_dtype"] = config.pop("dtype", "bfloat16")
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")


def sample(model, tokenizer, prompt, tokens, temperature):
    """A continuation of `prompt` as text."""
    ids = torch.tensor([tokenizer.encode(prompt).ids])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=temperature > 0,
                         temperature=temperature or None, top_k=0 if temperature else None)
    return tokenizer.decode(out[0].tolist())


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("text"), args.add_argument("out", type=Path)
    args.add_argument("--steps", type=int, default=3200), args.add_argument("--seed", type=int, default=1611)
    args = args.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    texts = chapters(args.text)
    tokenizer = train_tokenizer(texts, args.out)
    corpus = Corpus(tokenizer, [t for i, t in enumerate(texts) if i % 40 != 39])
    held_out = Corpus(tokenizer, texts[39::40])
    config = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=CONTEXT, bos_token_id=BOS, eos_token_id=EOS,
                         tie_word_embeddings=True, rms_norm_eps=1e-5, **SHAPE)
    model = LlamaForCausalLM(config)
    count = sum(p.numel() for p in model.parameters())
    print(f"{len(texts)} chapters, {len(corpus.ids)} tokens to train on, {len(held_out.ids)} held out, {count} parameters")

    train(model, corpus, held_out, args.steps, args.seed)
    save(model, args.out)
    model = model.float().eval()
    nats = evaluate(model, held_out)
    bits = nats / math.log(2) * len(held_out.ids) / held_out.text_bytes
    print(f"held out, weights in bfloat16: {nats:.4f} nats per token, {bits:.3f} bits per byte")
    for temperature in (0.0, 0.8):
        print(f"--- temperature {temperature}\n{sample(model, tokenizer, 'In the beginning', 120, temperature)}")


if __name__ == "__main__":
    main()
