"""Writes tests/fixtures/blocks.safetensors: blocks of every storage type of GGUF that is read, and the values that the
`gguf` package reads from them.

    python3 -m venv venv && venv/bin/pip install gguf safetensors numpy
    venv/bin/python tests/golden/make_blocks.py tests/fixtures/blocks.safetensors

For each type there are two tensors, `TYPE.blocks` (U8, [blocks, bytes]) and `TYPE.values` (F32, [blocks, values]). Some
blocks are random bits; of others the codes are all zeros, all ones or alternate. Scales and minima are the largest, the
smallest and negative numbers that there are, but always finite.
"""

import sys

import numpy as np
from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize
from safetensors.numpy import save_file

# Places of 16-bit floats in a block.
HALVES = {
    "F16": [0], "BF16": [], "F32": [],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0], "MXFP4": [],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0], "TQ2_0": [64],
}
# Largest, smallest normal, smallest, negative ones, both zeros, one.
SCALES = [0x7BFF, 0x0400, 0x0001, 0xFBFF, 0x8001, 0x0000, 0x8000, 0x3C00]
FILLS = [0x00, 0xFF, 0xAA, 0x55, 0x0F, 0xF0, 0x80, 0x7F]
EXPONENTS = [0, 1, 2, 3, 126, 127, 128, 251]
RANDOM = 4


def blocks_of(name, bytes_, rng):
    rows = []
    for i in range(RANDOM):
        row = rng.integers(0, 256, bytes_, dtype=np.uint8)
        for at in HALVES[name]:
            # Any sign and mantissa, an exponent in the middle.
            half = (int(rng.integers(0, 2)) << 15) | (int(rng.integers(5, 20)) << 10) | int(rng.integers(0, 1024))
            row[at], row[at + 1] = half & 255, half >> 8
        if name == "MXFP4":
            row[0] = rng.integers(100, 150)
        rows.append(row)
    for i, fill in enumerate(FILLS):
        row = np.full(bytes_, fill, dtype=np.uint8)
        for j, at in enumerate(HALVES[name]):
            half = SCALES[(i + 3 * j) % len(SCALES)]
            row[at], row[at + 1] = half & 255, half >> 8
        if name == "MXFP4":
            row[0] = EXPONENTS[i]
        rows.append(row)
    return np.stack(rows)


def main(path):
    tensors = {}
    for name in HALVES:
        kind = GGMLQuantizationType[name]
        size, bytes_ = GGML_QUANT_SIZES[kind]
        rng = np.random.default_rng(kind.value)
        if name in ("F32", "F16", "BF16"):
            blocks = rng.standard_normal(12).astype(np.float32)
            blocks[:4] = [0.0, -0.0, 1e-3, -6e4]
            if name == "F16":
                blocks = blocks.astype(np.float16)
            blocks = blocks.view(np.uint8).reshape(12, 4 if name != "F16" else 2)
            if name == "BF16":
                blocks = np.ascontiguousarray(blocks[:, 2:])
        else:
            blocks = blocks_of(name, bytes_, rng)
        values = dequantize(blocks, kind).reshape(len(blocks), size).astype(np.float32)
        assert np.isfinite(values).all(), name
        tensors[f"{name}.blocks"] = np.ascontiguousarray(blocks)
        tensors[f"{name}.values"] = np.ascontiguousarray(values)
    save_file(tensors, path)


main(sys.argv[1])
