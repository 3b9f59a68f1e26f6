#!/usr/bin/env python3
"""Write tests/fixtures/embedded-model.json: what `transformers` makes of the model in compiler/model, greedily.

A list of `{"prompt", "ids", "greedy_ids", "text"}`: ids of the prompt as the tokenizer gives them (with `<s>`), the ids
that greedy decoding appends, and the text of the whole without special tokens. A prompt is left out where a step is too
close to call (the two largest logits within 0.004 of each other); decoding stops there or at the end of the text.
"""
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
PROMPTS = ["In the beginning", "And God said", "The LORD is my shepherd;", "Blessed are", ""]
STEPS, LEAST_STEPS, CLEAR_GAP = 100, 20, 0.004


def continue_greedily(model, ids):
    """Ids that follow, up to the first step that rounding could turn."""
    eos, out = model.config.eos_token_id, []
    with torch.inference_mode():
        while len(out) < STEPS:
            best = model(torch.tensor([ids + out]), use_cache=False).logits[0, -1].topk(2)
            if best.values[0] - best.values[1] < CLEAR_GAP:
                break
            out.append(best.indices[0].item())
            if out[-1] == eos:
                break
    return out


def main():
    torch.set_num_threads(1)
    folder = ROOT / "compiler" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    found = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt)["input_ids"]
        out = continue_greedily(model, ids)
        print(f"{prompt!r}: {len(out)} clear steps")
        if len(out) >= LEAST_STEPS:
            text = tokenizer.decode(ids + out, skip_special_tokens=True)
            found.append({"prompt": prompt, "ids": ids, "greedy_ids": out, "text": text})
    (ROOT / "tests" / "fixtures" / "embedded-model.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
