"""Perplexities of the embedded model over the first verses of Genesis, as the documentation of `transformers` measures them.

    python make_perplexity.py

writes tests/fixtures/perplexity.json: the text, and for each length of a window and each stride the number.
"""

import json
import pathlib

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
MODEL = HERE / "../../compiler/model"
TEXT = """In the beginning God created the heaven and the earth. And the earth was without form, and void; and darkness was upon the face of \
the deep. And the Spirit of God moved upon the face of the waters. And God said, Let there be light: and there was light. And God saw the \
light, that it was good: and God divided the light from the darkness. And God called the light Day, and the darkness he called Night. And \
the evening and the morning were the first day. And God said, Let there be a firmament in the midst of the waters, and let it divide the \
waters from the waters. And God made the firmament, and divided the waters which were under the firmament from the waters which were above \
the firmament: and it was so. And God called the firmament Heaven. And the evening and the morning were the second day.
"""


def perplexity(model, ids, max_length, stride):
    total, counted, previous_end = 0.0, 0, 0
    for begin in range(0, ids.size(1), stride):
        end = min(begin + max_length, ids.size(1))
        target = end - previous_end
        window = ids[:, begin:end]
        labels = window.clone()
        labels[:, :-target] = -100
        with torch.no_grad():
            loss = model(window, labels=labels).loss.item()
        if target > 1:
            total += loss * (target - 1)
            counted += target - 1
        previous_end = end
        if end == ids.size(1):
            break
    return float(torch.exp(torch.tensor(total / counted, dtype=torch.float64)))


def main():
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    cuts = [(512, 512), (64, 64), (64, 16), (33, 7), (100, 99), (2, 1)]
    cases = [{"max_length": n, "stride": s, "perplexity": perplexity(model, ids, n, s)} for n, s in cuts]
    out = {"text": TEXT, "tokens": ids.size(1), "cases": cases}
    (HERE / "../fixtures/perplexity.json").write_text(json.dumps(out, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
