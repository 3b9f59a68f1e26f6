"""Matrices as GPTQ, AWQ and compressed-tensors publish them: what stands for a matrix, and the float32 values that it stands for.

Each function takes `[out, in]` in float32 and returns the tensors to store by the ending of their names, and the values: integer less zero
point, times scale, in float32. Words of 32 bits hold 8 codes of 4 bits or 4 of 8, the first in the lowest bits.
"""
import torch

# Column of each nibble of a word in AWQ, from the lowest on.
AWQ_COLUMNS = [0, 2, 4, 6, 1, 3, 5, 7]


def codes_of(matrix, bits, groups, symmetric, scale_type):
    """Codes, zero points and scales (rounded to their type), where `groups` gives the group of each input."""
    rows, columns = matrix.shape
    count, top = int(groups.max()) + 1, 2**bits - 1
    scales, zeros = torch.zeros(rows, count), torch.zeros(rows, count, dtype=torch.int32)
    for g in range(count):
        part = matrix[:, groups == g]
        if symmetric:
            scales[:, g] = part.abs().amax(1) / (top // 2)
            zeros[:, g] = 2 ** (bits - 1)
        else:
            low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
            scales[:, g] = (high - low) / top
            zeros[:, g] = (-low / scales[:, g]).round().clamp(1, top - 1).int()
    scales = scales.to(scale_type)
    each, zero = scales.float()[:, groups], zeros[:, groups]
    codes = ((matrix / each).round().int() + zero).clamp(1, top)
    return codes, zeros, scales, ((codes - zero).float() * each).contiguous()


def words(codes, bits, order=None):
    """The last dimension in words of 32 bits."""
    per = 32 // bits
    parts = codes.unflatten(-1, (-1, per)).to(torch.int64)
    parts = parts[..., order] if order else parts
    packed = sum(parts[..., i] << bits * i for i in range(per))
    return (packed - (packed >> 31 << 32)).to(torch.int32).contiguous()


def gptq(matrix, group=32, ordered=True, bits=4):
    """Along inputs, `[in, out]`; zero points are stored less one."""
    columns = matrix.shape[1]
    groups = torch.arange(columns) // group
    if not ordered:
        groups = groups[torch.randperm(columns, generator=torch.Generator().manual_seed(columns))]
    codes, zeros, scales, values = codes_of(matrix, bits, groups, False, torch.float16)
    stored = {".qweight": words(codes, bits).T, ".qzeros": words((zeros - 1).T, bits), ".scales": scales.T, ".g_idx": groups.int()}
    return {end: tensor.contiguous() for end, tensor in stored.items()}, values


def awq(matrix, group=32):
    """Along outputs, `[in, out]`, with the nibbles of a word out of order."""
    codes, zeros, scales, values = codes_of(matrix, 4, torch.arange(matrix.shape[1]) // group, False, torch.float16)
    stored = {".qweight": words(codes.T, 4, AWQ_COLUMNS), ".qzeros": words(zeros.T, 4, AWQ_COLUMNS), ".scales": scales.T}
    return {end: tensor.contiguous() for end, tensor in stored.items()}, values


def compressed(matrix, bits=4, group=32, symmetric=True):
    """Along inputs, `[out, in]`; zero points along outputs."""
    groups = torch.arange(matrix.shape[1]) // (group or matrix.shape[1])
    codes, zeros, scales, values = codes_of(matrix, bits, groups, symmetric, torch.bfloat16)
    stored = {".weight_packed": words(codes, bits), ".weight_scale": scales, ".weight_shape": torch.tensor(matrix.shape)}
    if not symmetric:
        stored[".weight_zero_point"] = words(zeros.T, bits).T.contiguous()
    return stored, values


def fp8_channels(matrix):
    """e4m3 values and a scale for each output."""
    scale = (matrix.abs().amax(1, keepdim=True) / 448.0).to(torch.bfloat16)
    values = (matrix / scale.float()).to(torch.float8_e4m3fn)
    return {".weight": values, ".weight_scale": scale}, (values.float() * scale.float()).contiguous()


def groups_of(**weights):
    """`config_groups` of compressed-tensors."""
    return {"group_0": {"targets": ["Linear"], "weights": dict(weights, dynamic=False, observer="minmax")}}


# By name: how matrices are stored, and what the config says of it.
FORMS = {
    "gptq": (gptq, dict(quant_method="gptq", bits=4, group_size=32, desc_act=False, sym=False)),
    "gptq-order": (lambda m: gptq(m, ordered=False), dict(quant_method="gptq", bits=4, group_size=32, desc_act=True, sym=False)),
    "awq": (awq, dict(quant_method="awq", bits=4, group_size=32, zero_point=True, version="gemm")),
    "int4": (compressed, dict(quant_method="compressed-tensors", format="pack-quantized", quantization_status="compressed",
                              config_groups=groups_of(num_bits=4, type="int", symmetric=True, strategy="group", group_size=32))),
    "int4-zeros": (lambda m: compressed(m, symmetric=False),
                   dict(quant_method="compressed-tensors", format="pack-quantized", quantization_status="compressed",
                        config_groups=groups_of(num_bits=4, type="int", symmetric=False, strategy="group", group_size=32))),
    "int8": (lambda m: compressed(m, bits=8, group=None),
             dict(quant_method="compressed-tensors", format="pack-quantized", quantization_status="compressed",
                  config_groups=groups_of(num_bits=8, type="int", symmetric=True, strategy="channel"))),
    "fp8-channels": (fp8_channels,
                     dict(quant_method="compressed-tensors", format="float-quantized", quantization_status="compressed",
                          config_groups=groups_of(num_bits=8, type="float", symmetric=True, strategy="channel"))),
}
