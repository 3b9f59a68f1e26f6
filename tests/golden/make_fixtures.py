#!/usr/bin/env python3
"""Write the checkpoints under tests/fixtures and the logits that `transformers` computes for each of them.

    python make_fixtures.py [NAME...] [--out DIR]

Every fixture is a folder with a checkpoint (config.json, model*.safetensors) of random weights and a golden.safetensors:

    input_ids   int64   [T]      a prompt
    logits      float32 [T, V]   of every position of the prompt
    greedy_ids  int64   [S]      what greedy decoding appends to the prompt
    greedy_gap  float32 [S]      largest minus second largest logit at each of these steps

The reference reads the finished files, as any user of the checkpoint would, and computes in float32 whatever type they
store; in float64 where a fixture asks for it. Needs torch, transformers and safetensors; README.md says which versions made the committed files.
"""
import argparse
import json
import shutil
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

import integers
from fixtures import all_fixtures

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
# What is written, whatever Doubles makes of the name.
FLOAT32 = torch.float32
# A step of greedy decoding tells something only where rounding cannot turn it; seeds that come closer are passed over.
CLEAR_GAP = 0.02
# And a choice of experts that rounding could turn would tell something wrong; of keys there are so many choices that some are closer.
CLEAR_CHOICE = 1e-3
CLEAR_KEYS = 1e-4


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("names", nargs="*"), args.add_argument("--out", type=Path, default=FIXTURES)
    args = args.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    chosen = [f for f in all_fixtures() if not args.names or f.name in args.names]
    unknown = set(args.names) - {f.name for f in chosen}
    if unknown:
        raise SystemExit(f"no such fixture: {', '.join(sorted(unknown))}")
    for fixture in chosen:
        gap, spread = write(fixture, args.out / fixture.name)
        size = sum(p.stat().st_size for p in (args.out / fixture.name).iterdir())
        print(f"{fixture.name:36} {size:7} bytes  logits spread {spread:.3f}  smallest gap {gap:.4f}")


def write(fixture, folder):
    """Draw weights until greedy decoding is clear and does not loop at once; leave checkpoint and golden in `folder`."""
    for seed in range(200):
        write_checkpoint(fixture, folder, seed)
        packed = quantise(folder, fixture.quantised) if fixture.quantised else None
        with Choices() as choices:
            golden = reference(folder, fixture, seed)
        if choices.least < 1:
            continue
        gap, spread = golden["greedy_gap"].min().item(), golden["logits"].std().item()
        if gap > CLEAR_GAP and len(set(golden["greedy_ids"].tolist())) > fixture.steps // 3:
            save_file(golden, folder / "golden.safetensors")
            if packed:
                save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
                amend(folder / "config.json", quantization_config=QUANTISED[fixture.quantised])
            if fixture.published_as:
                rename(folder / "config.json", fixture.published_as)
            return gap, spread
    raise SystemExit(f"{fixture.name}: no seed decodes clearly")


def write_checkpoint(fixture, folder, seed):
    """config.json and weights, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    options = dict(fixture.config)
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    model = auto_class(config).from_config(config)
    draw_weights(model, seed)
    stored = model.to(fixture.dtype)
    total = sum(p.numel() * p.element_size() for p in stored.parameters())
    stored.save_pretrained(folder, max_shard_size=total // fixture.shards + 1024)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tidy_config(folder / "config.json", fixture.older_config)
    for edit in fixture.layout:
        path = folder / "model.safetensors"
        save_file(edit(load_file(path), config), path, metadata={"format": "pt"})


def auto_class(config):
    """What loads the architecture whole."""
    return AutoModelForImageTextToText if hasattr(config, "text_config") else AutoModelForCausalLM


def text_model(model):
    """The language model, where the architecture keeps it whole beside its eyes."""
    inner = getattr(model, "language_model", None)
    return inner if hasattr(inner, "lm_head") else model


def draw_weights(model, seed):
    """Weights that make every part of the network matter: a forgotten bias or a swapped norm must move the logits.

    Each parameter has a stream of its own, named by the parameter, so that adding one changes no other. Matrices keep the
    variance of what passes through them; gains lie between 0.5 and 1.5, biases between -0.5 and 0.5.
    """
    inputs = {}
    for prefix, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            inputs[prefix + ".weight"] = module.weight.shape[1]
        elif isinstance(module, Conv1D):
            inputs[prefix + ".weight"] = module.weight.shape[0]
    with torch.no_grad():
        parameters = list(model.named_parameters())
        parameters += [(name, b) for name, b in model.named_buffers() if name.endswith(("correction_bias", "expert_bias"))]
        for name, parameter in parameters:
            stream = np.random.default_rng([seed, zlib.crc32(name.encode())])
            shape = tuple(parameter.shape)
            if name in inputs and not shares_embedding(model, parameter):
                values = stream.standard_normal(shape) / np.sqrt(inputs[name])
            elif name.endswith("correction_bias"):
                # Beside the parts of a softmax half of one would leave the scores nothing to say.
                most = 0.1 if model.config.model_type == "longcat_flash" else 0.5
                values = stream.uniform(-most, most, shape)
            elif len(shape) == 3:  # experts, [out, in] each but where the family stores them the other way
                values = stream.standard_normal(shape) / np.sqrt(shape[1 if stores_transposed(model) else 2])
            elif name.endswith("mlp.gate.weight") or "router.weight" in name:
                values = stream.standard_normal(shape) * 2 / np.sqrt(shape[1])
            elif len(shape) == 2:  # tables; one that is the head too would, if large, make a token predict itself
                values = stream.standard_normal(shape) * (0.15 if model.config.tie_word_embeddings else 1.0)
            elif name.endswith("bias"):
                values = stream.uniform(-0.5, 0.5, shape)
            else:
                values = stream.uniform(0.5, 1.5, shape)
            parameter.copy_(torch.from_numpy(values).float())


def stores_transposed(model):
    """Whether the family multiplies by its experts' matrices as they are stored."""
    return model.config.model_type in ("gpt_oss", "llama4_text")


class Choices:
    """Notes the least distance between what topk kept last and what it left out first, of what it should be at least."""

    def __enter__(self):
        self.real, self.of_tensors, self.least = torch.topk, torch.Tensor.topk, float("inf")
        torch.topk = self.topk
        torch.Tensor.topk = lambda x, k, **options: self.topk(x, k, clear=CLEAR_KEYS, **options)
        return self

    def __exit__(self, *_):
        torch.topk, torch.Tensor.topk = self.real, self.of_tensors

    def topk(self, x, k, *args, clear=CLEAR_CHOICE, **options):
        if k < x.shape[-1]:
            best = self.real(x.float(), k + 1, dim=-1).values
            gap = best[..., k - 1] - best[..., k]
            # What is masked is never chosen, although it fills a list of more than there is.
            gap = gap[torch.isfinite(gap) & (best[..., k - 1] > -1e30)] / clear
            self.least = min([self.least, *gap.flatten().tolist()])
        return self.real(x, k, *args, **options)


class Doubles:
    """What a model's code widens to float32 becomes float64."""

    def __enter__(self):
        self.kept = torch.float32, torch.float, torch.Tensor.float, torch.get_default_dtype()
        torch.float32 = torch.float = torch.float64
        torch.Tensor.float = torch.Tensor.double
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_):
        torch.float32, torch.float, torch.Tensor.float, default = self.kept
        torch.set_default_dtype(default)


def shares_embedding(model, parameter):
    """Whether this is the embedding table under another name."""
    return parameter is model.get_input_embeddings().weight


def tidy_config(path, older):
    """Leave out what only the library's version changes; optionally go back to the older pair of RoPE entries."""
    config = json.loads(path.read_text())
    config.pop("transformers_version", None)
    if older:
        config["torch_dtype"] = config.pop("dtype")
        for part in [config, config.get("text_config", {})]:
            if part.get("rope_parameters"):
                to_older_rope(part)
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")


def to_older_rope(config):
    """`rope_theta` and `rope_scaling` instead of `rope_parameters`; layers with windows have a base of their own, or the same."""
    parameters = config.pop("rope_parameters")
    if "full_attention" in parameters:
        local, parameters = parameters["sliding_attention"], parameters["full_attention"]
        if local["rope_theta"] != parameters["rope_theta"]:
            config["rope_local_base_freq"] = local["rope_theta"]
    config["rope_theta"] = parameters.pop("rope_theta")
    if "partial_rotary_factor" in parameters:
        config["partial_rotary_factor"] = parameters.pop("partial_rotary_factor")
    config["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters


def rename(path, model_type):
    """Call the architecture by the name under which its checkpoints are published."""
    amend(path, model_type=model_type)


def amend(path, **entries):
    """Set entries of a config."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries, indent=2) + "\n")


BLOCK = 8
QUANTISED = {name: config for name, (_, config) in integers.FORMS.items()} | dict(
    fp8=dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[BLOCK, BLOCK]),
    mxfp4=dict(quant_method="mxfp4"))


def quantise(folder, how):
    """Put the values that quantised matrices stand for into the checkpoint, and give the tensors that they are stored as."""
    path = folder / "model.safetensors"
    plain, stored = load_file(path), {}
    for name, matrix in plain.items():
        is_linear = matrix.ndim == 2 and ".layers." in name and "norm" not in name and not name.endswith("gate.weight")
        if how in integers.FORMS and is_linear:
            tensors, plain[name] = integers.FORMS[how][0](matrix.float())
            stored |= {name.removesuffix(".weight") + end: tensor for end, tensor in tensors.items()}
        elif how == "fp8" and is_linear:
            stored[name], stored[name + "_scale_inv"], plain[name] = fp8_blocks(matrix.float())
        elif how == "mxfp4" and matrix.ndim == 3:
            stored[name + "_blocks"], stored[name + "_scales"], plain[name] = mxfp4_groups(matrix.float())
        else:
            stored[name] = matrix
    save_file(plain, path, metadata={"format": "pt"})
    return stored


def fp8_blocks(matrix):
    """`[out, in]` as e4m3 values, a float32 scale for each block, and the float32 values that both stand for."""
    rows, columns = matrix.shape
    scale = torch.stack([torch.stack([block.abs().max() / 448.0 for block in row.split(BLOCK, 1)]) for row in matrix.split(BLOCK)])
    each = scale.repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :columns]
    values = (matrix / each).to(torch.float8_e4m3fn)
    return values, scale, (values.float() * each).contiguous()


def mxfp4_groups(stack):
    """`[experts, in, out]` as pairs of e2m1 `[experts, out, in / 32, 16]`, powers of two, and the values that both stand for."""
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    groups = stack.transpose(1, 2).unflatten(2, (-1, 32))
    power = torch.floor(torch.log2(groups.abs().amax(-1, keepdim=True))) - 2
    scaled = groups / 2**power
    code = (scaled.abs()[..., None] - levels).abs().argmin(-1)
    values = levels[code] * scaled.sign() * 2**power
    code = (code + 8 * (scaled < 0)).to(torch.uint8)
    pairs = code[..., 0::2] | code[..., 1::2] << 4
    return pairs.contiguous(), (power[..., 0] + 127).to(torch.uint8), values.flatten(2).transpose(1, 2).contiguous()


def reference(folder, fixture, seed):
    """Logits and greedy continuation of the checkpoint in `folder`, recomputing everything at every step."""
    config = AutoConfig.from_pretrained(folder)
    # Products of experts together are for narrower types.
    how = {"experts_implementation": "eager"} if fixture.exact else {}
    model = auto_class(config).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **how).eval()
    model = text_model(model)
    with Doubles() if fixture.exact else nullcontext():
        return golden_of(model.double() if fixture.exact else model, config, fixture, seed)


def golden_of(model, config, fixture, seed):
    """Logits and greedy continuation of a loaded model."""
    stream = np.random.default_rng([seed, zlib.crc32(b"prompt")])
    prompt = torch.from_numpy(stream.integers(3, config.get_text_config().vocab_size, fixture.prompt))
    sequence, chosen, gaps = prompt, [], []
    with torch.inference_mode():
        logits = model(prompt[None], use_cache=False).logits[0]
        for _ in range(fixture.steps):
            best = model(sequence[None], use_cache=False).logits[0, -1].sort(descending=True)
            chosen.append(best.indices[0].item())
            gaps.append((best.values[0] - best.values[1]).item())
            sequence = torch.cat([sequence, best.indices[:1]])
    assert torch.isfinite(logits).all()
    return {"input_ids": prompt.clone(), "logits": logits.to(FLOAT32).contiguous(), "greedy_ids": torch.tensor(chosen),
            "greedy_gap": torch.tensor(gaps, dtype=FLOAT32)}


if __name__ == "__main__":
    main()
