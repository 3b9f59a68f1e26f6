"""Writes what llama.cpp makes of texts with the tokenizers of small GGUF files.

    make_gguf_text.py tests/fixtures/gguf-text.json

Needs llama-cpp-python, gguf and tokenizers. Byte pairs are learnt over whole lines, so that most joins reach across a cut: wherever a
pre-tokenizer cuts at another place, ids differ.
"""

import json
import pathlib
import sys
import tempfile

import gguf
import llama_cpp
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

TEXTS = [
    "Hello world, it's 1 12 123 1234 12345 1234567 and WE'LL see DON'T",
    "  two  spaces   three    \n\n\n  and lines \n \t\ttabs\r\n\r\nend  ",
    "def f(x):\n    return x**2  # a comment\n\n\n\tif a<=b && c!=d: {}[]();",
    "Привет мир 日本語のテキスト 中文字符 한국어 ありがとう ไทย",
    "CamelCaseHTTPServer2024 http://a.com/x?y=1&z=20 a_b-c...!!! \"quoted\" $9.50",
    "👨‍👩‍👧 😀!! ✨ é ½ — “x”",
    "a <|end|> b<|end|>\n<|end|>c <tool> d",
]
HERE = pathlib.Path(__file__).parent
TABLE = json.loads((HERE / "../../compiler/src/text/table.json").read_text())
# Where llama.cpp differs from the tokenizer that its expressions were made of: it knows no character as both byte and digit.
NOT_ALIKE = {"falcon"}


def ids(writer_of, texts):
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        writer = gguf.GGUFWriter(file.name, "llama")
        writer_of(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        model = llama_cpp.Llama(file.name, vocab_only=True, verbose=False)
        return [model.tokenize(text.encode(), add_bos=True, special=True) for text in texts]


def pairs():
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + 400, initial_alphabet=alphabet, show_progress=False)
    lines = [text * 3 for text in TEXTS[:-1]] + [text[i:] for text in TEXTS[:-1] for i in range(0, len(text), 3)]
    learner.train_from_iterator(lines, trainer)
    model = json.loads(learner.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get) + ["<|end|>", "<tool>", "<s>"]
    types = [1] * (len(tokens) - 3) + [3, 4, 3]
    merges = [" ".join(pair) for pair in model["merges"]]
    # A token that no join makes, for those that take whole words.
    whole = tokens.index(merges[-1].replace(" ", ""))
    merges = merges[:-1]
    found = {}
    for row in TABLE["cuts"]:
        for name in row["names"]:
            if name in NOT_ALIKE:
                continue

            def writer_of(writer, name=name):
                writer.add_tokenizer_model("gpt2")
                writer.add_tokenizer_pre(name)
                writer.add_token_list(tokens)
                writer.add_token_types(types)
                writer.add_token_merges(merges)
                writer.add_bos_token_id(len(tokens) - 1)
                writer.add_eos_token_id(len(tokens) - 3)

            try:
                found[name] = ids(writer_of, TEXTS)
            except ValueError:
                print("not known to this llama.cpp:", name)
    return {"tokens": tokens, "types": types, "merges": merges, "whole": whole, "ids": found}


def pieces():
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [2, 3, 3] + [6] * 256
    words = ["▁the", "he", "▁t", "▁", "th", "in", "ing", "▁▁", "er", "re", "▁an", "nd", "an", "and", "▁and", "日本", "本語", "ri", "▁a"]
    words += list("abcdefghijklmnopqrstuvwxyz,.!日本語é")
    tokens += words + ["<tool>", "  "]
    types += [1] * len(words) + [4, 4]
    scores = [0.0] * 259 + [-float(i) for i in range(len(words))] + [0.0, 0.0]
    texts = ["the thing and there", "  two   blanks    ", "", "日本語 日本", "Ünknown\n\tX 😀", "a<s>the</s>the <tool> the", "and and"]
    texts = [text for text in texts if text]
    found = {}
    for prefix in (True, False):
        for bos in (True, False):

            def writer_of(writer, prefix=prefix, bos=bos):
                writer.add_tokenizer_model("llama")
                writer.add_token_list(tokens)
                writer.add_token_types(types)
                writer.add_token_scores(scores)
                writer.add_unk_token_id(0)
                writer.add_bos_token_id(1)
                writer.add_eos_token_id(2)
                writer.add_add_space_prefix(prefix)
                writer.add_add_bos_token(bos)

            found[f"{prefix} {bos}".lower()] = ids(writer_of, texts)
    return {"tokens": tokens, "types": types, "scores": scores, "texts": texts, "ids": found}


def likeliest():
    words = ["▁the", "▁t", "▁", "th", "he", "in", "ing", "▁▁", "er", "re", "▁an", "nd", "an", "and", "▁and", "ri", "▁a"]
    words += list("abcdefghijklmnopqrstuvwxyz,.!")
    tokens = ["<pad>", "</s>", "<unk>"] + words
    types = [3, 3, 2] + [1] * len(words)
    scores = [0.0, 0.0, 0.0] + [-2.0 - 0.37 * i for i in range(len(words))]
    texts = ["the thing and there", "and and, in the ring!", "a  b", "brand"]

    def writer_of(writer):
        writer.add_tokenizer_model("t5")
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_scores(scores)
        writer.add_unk_token_id(2)
        writer.add_eos_token_id(1)
        writer.add_add_space_prefix(True)
        writer.add_remove_extra_whitespaces(True)

    return {"tokens": tokens, "types": types, "scores": scores, "texts": texts, "ids": ids(writer_of, texts)}


def main():
    out = {"texts": TEXTS, "pairs": pairs(), "pieces": pieces(), "likeliest": likeliest()}
    text = json.dumps(out, ensure_ascii=False, separators=(",", ":"))
    pathlib.Path(sys.argv[1]).write_text(text + "\n")


main()
