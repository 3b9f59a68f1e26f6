#!/usr/bin/env python3
"""Compare the float32 values that Graver makes of GPTQ, AWQ and compressed-tensors checkpoints with those that the libraries' own code
makes of the same tensors, bit for bit.

    python check_integers.py --graver target/release/graver --autogptq auto_gptq-0.7.1 --gptqmodel gptqmodel-2.2.0 --autoawq autoawq-0.2.9

The three folders are unpacked source distributions; compressed-tensors, torch and safetensors are installed. Each fixture's integers are
taken as they are, and once more with random bits and with scales that are the largest and smallest there are. Libraries multiply in the
scale's type, so that scales are given to them in float32: the product that Graver is compared with is then exact. Graver's values are read
out of the file of weights that `graver compile --quantize none` writes: it has to be, byte for byte, the one that it writes for a plain
checkpoint of the library's values.
"""
import argparse
import ast
import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import load_file, save_file

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
ENDS = (".qweight", ".qzeros", ".scales", ".g_idx", ".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point")
# Largest, smallest normal, smallest and negative ones of float16, which bfloat16 has as well but for digits.
SCALES = [65504.0, 6.103515625e-05, 5.960464477539063e-08, -65504.0, -5.960464477539063e-08, 1.0]


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--graver", required=True)
    for library in ("autogptq", "gptqmodel", "autoawq"):
        args.add_argument("--" + library, type=Path, required=True)
    args = args.parse_args()
    logging.disable(logging.WARNING)
    libraries = {"AutoGPTQ": lambda t, c: autogptq(args.autogptq, t), "GPTQModel": lambda t, c: gptqmodel(args.gptqmodel, t, c),
                 "AutoAWQ": lambda t, c: autoawq(args.autoawq, t), "compressed-tensors": lambda t, c: compressed(t, c)}
    failed = False
    for fixture, names in (("llama-gptq", ["AutoGPTQ", "GPTQModel"]), ("llama-gptq-order", ["AutoGPTQ", "GPTQModel"]), ("llama-awq", ["AutoAWQ"]),
                           ("llama-int4", ["compressed-tensors"]), ("llama-int4-zeros", ["compressed-tensors"]), ("llama-int8", ["compressed-tensors"])):
        for version in ["gptq", "gptq_v2"] if "gptq" in fixture else [None]:
            for bits in ("as they are", "random bits"):
                tensors, config = load_file(FIXTURES / fixture / "model.safetensors"), json.loads((FIXTURES / fixture / "config.json").read_text())
                if version == "gptq_v2":
                    config["quantization_config"]["checkpoint_format"] = version
                if bits == "random bits":
                    scramble(tensors, version)
                ours = weights(args.graver, tensors, config)
                for name in names:
                    if (name, version) == ("AutoGPTQ", "gptq_v2"):
                        continue  # It knows version 1 alone.
                    plain = {k: v for k, v in tensors.items() if not k.endswith(ENDS)}
                    plain |= {m + ".weight": libraries[name](of(tensors, m), config).contiguous() for m in matrices(tensors)}
                    without = {k: v for k, v in config.items() if k != "quantization_config"}
                    same = ours == weights(args.graver, plain, without)
                    failed |= not same
                    print(f"{fixture:18} {version or '':8} {bits:12} {name:18} {len(matrices(tensors))} matrices {'equal' if same else 'DIFFER'}")
    sys.exit(failed)


def matrices(tensors):
    """Names of the matrices that are stored as integers."""
    return sorted(k.rsplit(".", 1)[0] for k in tensors if k.endswith((".qweight", ".weight_packed")))


def of(tensors, matrix):
    return {k.removeprefix(matrix): v for k, v in tensors.items() if k.startswith(matrix + ".")}


def scramble(tensors, version):
    """Other integers and scales in the place of each."""
    torch.manual_seed(1)
    for name, old in tensors.items():
        if name.endswith((".qweight", ".qzeros", ".weight_packed", ".weight_zero_point")):
            new = torch.randint(-(2**31), 2**31, old.shape, dtype=torch.int64).to(torch.int32)
            if name.endswith(".qzeros") and version == "gptq":
                # A zero point of 16 is none of 4 bits: what is stored for it, 15, is 16 to one kernel of a library and 0 to another.
                fifteen = sum(((new >> s & 15 == 15).to(torch.int32) << s) for s in range(0, 28, 4))
                top = ((new >> 28 & 15) == 15).to(torch.int32)
                new = new - fifteen - (top << 28)
            tensors[name] = new
        elif name.endswith((".scales", ".weight_scale")):
            picks = torch.tensor(SCALES)[torch.randint(0, len(SCALES), old.shape)]
            tensors[name] = torch.where(torch.rand(old.shape) < 0.5, picks.to(old.dtype), torch.randn(old.shape).to(old.dtype))


def weights(graver, tensors, config):
    """The file of weights that Graver writes for a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "m").mkdir()
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "m" / "model.safetensors")
        (folder / "m" / "config.json").write_text(json.dumps(config))
        command = [graver, "compile", folder / "m", "--quantize", "none", "--emit", "so", "--weights", "external", "-o", folder / "m.so"]
        subprocess.run(command, check=True, capture_output=True)
        return (folder / "m.weights").read_bytes()


def module(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def autogptq(folder, t):
    """What its layer would multiply with: a product with an identity has no zeros below 0."""
    layers = module(folder / "auto_gptq/nn_modules/qlinear/qlinear_cuda.py", "qlinear_cuda")
    layers.torch = SimpleNamespace(**vars(torch) | {"matmul": lambda x, weights: weights})
    inputs, outputs = t[".g_idx"].numel(), t[".scales"].shape[1]
    layer = layers.QuantLinear(4, 32, inputs, outputs, False)
    layer.qweight, layer.qzeros, layer.scales, layer.g_idx = t[".qweight"], t[".qzeros"], t[".scales"].float(), t[".g_idx"]
    layer.autogptq_cuda_available = False
    return layer(torch.eye(inputs)).T


def gptqmodel(folder, t, config):
    """What its function for weights gives, which is for version 2: version 1 has 1 added in every nibble first, as its converter does."""
    source = (folder / "gptqmodel/nn_modules/qlinear/__init__.py").read_text()
    found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "dequantize_weight"]
    names = {"t": torch}
    exec(compile(ast.Module([found[0]], []), "gptqmodel", "exec"), names)
    shifts = torch.arange(0, 32, 4, dtype=torch.int32).unsqueeze(0)
    zeros = t[".qzeros"] + (0 if "checkpoint_format" in config["quantization_config"] else 0x11111111)
    layer = SimpleNamespace(bits=4, pack_factor=8, maxq=15, qzeros=zeros, qweight=t[".qweight"], scales=t[".scales"].float(), g_idx=t[".g_idx"],
                            wf_unsqueeze_zero=shifts.unsqueeze(0), wf_unsqueeze_neg_one=shifts.unsqueeze(-1), dequant_dtype=torch.int8)
    return names["dequantize_weight"](layer).T


def autoawq(folder, t):
    packing = module(folder / "awq/utils/packing_utils.py", "packing_utils")
    return packing.dequantize_gemm(t[".qweight"], t[".qzeros"], t[".scales"].float(), 4, 32).T


def compressed(t, config):
    args = QuantizationArgs(**config["quantization_config"]["config_groups"]["group_0"]["weights"])
    state = {k.removeprefix("."): v for k, v in t.items()} | {"weight_scale": t[".weight_scale"].float()}
    return PackedQuantizationCompressor.decompress(state, QuantizationScheme(targets=["Linear"], weights=args))["weight"]


if __name__ == "__main__":
    main()
