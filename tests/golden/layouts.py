"""Edits to the tensors of a checkpoint: how families publish them, and what lies beside them. Each takes tensors by name and the config."""
import torch


def without_prefix(tensors, _config):
    """Names as the bare network has them: `h.0…` for `transformer.h.0…`."""
    return {name.removeprefix("transformer."): t for name, t in tensors.items()}


def with_language_model_first(tensors, _config):
    """`language_model.model.…` for `model.language_model.…`, as most published checkpoints have it."""
    swap = lambda name: name.replace("model.language_model.", "language_model.model.").replace("lm_head", "language_model.lm_head")
    return {swap(name).removeprefix("model."): t for name, t in tensors.items()}


def with_mask_buffers(tensors, config):
    """The causal masks that early GPT-2 checkpoints carry; no weights of the model."""
    n = config.n_positions
    mask = torch.ones(n, n, dtype=torch.float16).tril().view(1, 1, n, n)
    return tensors | {f"h.{i}.attn.bias": mask.clone() for i in range(config.n_layer)}


def with_prediction_layer(tensors, config):
    """A trailing layer that predicts the token after the next; no part of the model proper."""
    prefix = f"model.layers.{config.num_hidden_layers}."
    return tensors | {prefix + name: torch.ones(4) for name in ("enorm.weight", "self_attn.o_proj.weight")}


def with_prediction_module(tensors, _config):
    """Weights that predict the token after the next under a name of their own; no part of the model proper."""
    return tensors | {"mtp.fc.weight": torch.ones(4), "mtp.layers.0.input_layernorm.weight": torch.ones(4)}


def with_tied_head(tensors, _config):
    """A tied head that is stored all the same."""
    return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}


def with_experts_stacked(tensors, _config):
    """A stack of all experts' gates and ups, and one of their downs, in place of tensors for each."""
    stacks = {}
    for name in [n for n in tensors if ".experts.0.gate_proj" in n]:
        block = name.split(".experts.")[0]
        number = sum(n.startswith(f"{block}.experts.") for n in tensors) // 3
        part = lambda e, kind: tensors[f"{block}.experts.{e}.{kind}_proj.weight"]
        stacks[f"{block}.experts.gate_up_proj"] = torch.stack([torch.cat([part(e, "gate"), part(e, "up")]) for e in range(number)])
        stacks[f"{block}.experts.down_proj"] = torch.stack([part(e, "down") for e in range(number)])
    return {name: t for name, t in tensors.items() if ".experts." not in name} | stacks


def with_experts_transposed(tensors, _config):
    """Stacks of experts as `[in, out]` each."""
    return {name: t.transpose(1, 2).contiguous() if t.ndim == 3 and ".experts." in name else t for name, t in tensors.items()}
