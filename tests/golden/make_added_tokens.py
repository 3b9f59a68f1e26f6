#!/usr/bin/env python3
"""Ask `transformers` what the files beside a tokenizer.json do to it, and keep the answers as a fixture.

    python make_added_tokens.py ../fixtures/added-tokens.json

Needs transformers from PyPI; the answers are those of version 5. The fixture holds one small tokenizer, and cases: contents of
tokenizer_config.json, special_tokens_map.json and added_tokens.json, texts, their ids, and what the ids decode to without
special tokens.
"""
import json
import os
import sys
import tempfile

import transformers


def token(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": False, **flags}


def typed(content, **flags):
    return {"__type": "AddedToken", **token(content, **flags)}


def tokenizer():
    """Characters with byte fallback, spaces as ▁ and one before the text, no BOS; capitals are made small."""
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    pieces += ["▁", ",", ".", "<", ">", "|"] + [chr(c) for c in range(ord("a"), ord("z") + 1)]
    merges = [("▁", "a"), ("x", "y"), ("▁a", "b")]
    pieces += ["".join(m) for m in merges]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, **token(t, special=True)} for i, t in enumerate(pieces[:3])],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Lowercase"},
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {p: i for i, p in enumerate(pieces)}, "merges": [list(m) for m in merges]},
    }


VOCAB = len(tokenizer()["model"]["vocab"])
USUAL = {str(i): token(t, special=True) for i, t in enumerate(["<unk>", "<s>", "</s>"])}


def decoder(*tokens, start=VOCAB):
    return {"added_tokens_decoder": USUAL | {str(start + i): t for i, t in enumerate(tokens)}}


def cases():
    """Name, files by their stems, texts."""
    x = "<|x|>"
    texts = [f"{x}a", f"a {x} b", f"a{x}b", f"{x} {x}", "<|X|> xy"]

    def config(**values):
        return {"tokenizer_config": values}

    yield "nothing beside", {}, texts
    yield "listed special", config(**decoder(token(x, special=True))), texts
    yield "listed plain", config(**decoder(token(x))), texts
    for flag in ["single_word", "lstrip", "rstrip", "normalized"]:
        for special in [True, False]:
            listed = decoder(token(x, special=special, **{flag: True}))
            yield f"listed {flag}, special {special}", config(**listed), texts
    yield "listed single word without punctuation", config(**decoder(token("xy", single_word=True))), ["xy", "axy", "a xy b", "xya"]
    unsaid = {"content": x}
    yield "listed with flags unsaid", config(**decoder(unsaid)), texts
    yield "listed special with flags unsaid", config(**decoder({"content": x, "special": True})), texts
    yield "listed in any order", config(added_tokens_decoder={
        str(VOCAB + 1): token("<|y|>"), str(VOCAB): token(x), "2": USUAL["2"]}), ["<|y|><|x|></s>"]
    yield "listed with a gap", config(**decoder(token(x), start=VOCAB + 40)), texts
    yield "listed with the id of a piece", config(**decoder(token(x), start=270)), texts
    yield "listed again with other flags", config(added_tokens_decoder={
        "2": token("</s>", lstrip=True, rstrip=True, special=True)}), ["a </s> b", "</s>"]
    yield "listed again as plain", config(added_tokens_decoder={"2": token("</s>")}), ["a </s> b", "</s>"]
    yield "listed piece of the vocabulary", config(added_tokens_decoder={"300": token("xy", special=True)}), ["xy", "xyxy a"]
    yield "listed nothing", config(added_tokens_decoder={}), texts
    yield "named by a plain list entry", config(eos_token=x, **decoder(token(x))), texts
    yield "named and unknown", config(pad_token="[PAD]", eos_token=x), texts + ["[PAD]<|x|>", "[pad]"]
    yield "named as objects", config(mask_token=typed(x, lstrip=True)), texts
    yield "named twice", config(bos_token=x, cls_token=x, sep_token="<|y|>"), texts + ["<|x|><|y|>"]
    yield "named by the model", config(image_token=x, boi_token="<|y|>", add_a_token=True, n_token=5), texts + ["<|y|>"]
    yield "named by the model as objects", config(
        image_token=typed(x, lstrip=True, special=True), video_token="<|v|>", audio_token=typed("<|a|>")
    ), texts + ["<|v|> <|a|> a"]
    yield "additional", config(additional_special_tokens=[x, "<|y|>"]), texts + ["<|y|><|x|>"]
    yield "additional objects", config(additional_special_tokens=[typed(x, rstrip=True, special=True), typed("<|y|>")]), texts + ["<|y|>"]
    yield "additional beside an empty extra", config(additional_special_tokens=[x], extra_special_tokens=[]), texts
    yield "additional beside extra", config(additional_special_tokens=[x], extra_special_tokens=["<|y|>"]), texts + ["<|y|>"]
    yield "additional beside named extra", config(
        additional_special_tokens=[x], extra_special_tokens={"image_token": "<|y|>"}), texts + ["<|y|>"]
    yield "extra list", config(extra_special_tokens=[x, "<|y|>", x]), texts + ["<|y|>"]
    yield "extra names", config(extra_special_tokens={"image_token": x, "boi": "<|y|>"}), texts + ["<|y|>"]
    yield "extra names over the model's", config(image_token="<|y|>", extra_special_tokens={"image_token": x}), texts + ["<|y|>"]
    yield "extra and listed plain", config(extra_special_tokens=[x], **decoder(token(x))), texts
    yield "all at once", config(
        bos_token="<s>", pad_token="[PAD]", image_token="<|i|>", extra_special_tokens=["<|e|>"],
        **decoder(token("<|l|>", special=True))), ["<|e|><|i|>[PAD]<|l|><s>"]
    yield "text of special tokens is split", config(split_special_tokens=True, **decoder(token(x, special=True))), texts + ["</s>"]

    added = {"added_tokens": {x: VOCAB, "<|y|>": VOCAB + 1}}
    more = texts + ["<|y|><|x|>"]
    yield "added tokens alone", added, more
    yield "added tokens in any order", {"added_tokens": {x: VOCAB + 1, "<|y|>": VOCAB}}, more
    yield "added tokens with a gap", {"added_tokens": {x: VOCAB + 7, "<|y|>": VOCAB + 3}}, more
    yield "added tokens beside a configuration", config(eos_token=x) | added, more
    yield "added tokens beside extra", config(extra_special_tokens=[x]) | added, more
    yield "added tokens beside a list of ids", config(added_tokens_decoder={}) | added, more

    def mapped(**values):
        return {"special_tokens_map": values}

    yield "map alone", mapped(eos_token=x, pad_token="[PAD]"), texts + ["[PAD]"]
    yield "map with objects", mapped(mask_token={k: v for k, v in token(x, lstrip=True).items() if k != "special"}), texts
    yield "map with special said", mapped(mask_token=token(x, rstrip=True, normalized=True)), texts
    yield "map of additional", mapped(additional_special_tokens=[x, "<|y|>"]), more
    yield "map of extra", mapped(extra_special_tokens=["<|y|>", x]), more
    yield "map of extra objects", mapped(extra_special_tokens=[{"content": x, "lstrip": True}]), more
    yield "map of names of the model", mapped(image_token=x), texts
    yield "map over a configuration", config(eos_token="<|y|>") | mapped(eos_token=x), more
    yield "map that takes away", config(eos_token=x) | mapped(eos_token=None), more
    yield "map beside extra", config(extra_special_tokens=[x]) | mapped(additional_special_tokens=["<|y|>"]), more
    yield "map adds to extra", config(extra_special_tokens=[x]) | mapped(extra_special_tokens=["<|y|>", x]), more
    yield "map beside a list of ids", config(added_tokens_decoder={}) | mapped(eos_token=x), more
    yield "map and added tokens", mapped(eos_token=x, additional_special_tokens=["<|y|>"]) | added, more


def answer(files, texts):
    with tempfile.TemporaryDirectory() as folder:
        for stem, contents in ({"tokenizer": tokenizer()} | files).items():
            with open(os.path.join(folder, stem + ".json"), "w") as f:
                json.dump(contents, f)
        loaded = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        out = []
        for text in texts:
            ids = loaded(text)["input_ids"]
            # tokenizers 0.23 decodes normalised tokens to their normalised texts, special or not; 0.22, which we have, to their own.
            differs = any(t.normalized for t in loaded.added_tokens_decoder.values())
            decoded = None if differs else loaded.decode(ids, skip_special_tokens=True)
            out.append({"text": text, "ids": ids, "decoded": decoded})
        return out


def main():
    done = [{"name": name, "files": files, "texts": answer(files, texts)} for name, files, texts in cases()]
    with open(sys.argv[1], "w") as f:
        f.write('{"transformers": %s, "tokenizer": %s, "cases": [\n' % (
            json.dumps(transformers.__version__), json.dumps(tokenizer(), ensure_ascii=False)))
        f.write(",\n".join(json.dumps(case, ensure_ascii=False) for case in done))
        f.write("\n]}\n")
    print(len(done), "cases")


if __name__ == "__main__":
    main()
