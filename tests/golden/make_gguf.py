"""Writes fixtures as llama.cpp's converter makes GGUF files of them.

    make_gguf.py LLAMA_CPP tests/fixtures OUT [NAME...]

LLAMA_CPP is a folder with `conversion` and `gguf-py` (vendor/llama.cpp in the source package of llama-cpp-python 0.3.36). Needs torch,
transformers and safetensors. Fixtures have no tokenizer, so that their files have none. Without names all fixtures are converted that the
converter knows. Configs of fixtures lack some keys that published ones have, or spell them otherwise: `PUBLISHED` says what is put in (None takes
a key away), and `RENAMED` how tensors are published where the fixture has them in another form.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

PUBLISHED = {
    "bloom-bf16": {"seq_length": 2048},
    "cohere2-bf16": {"rotary_pct": 1.0},
    "deepseek-v3-groups-bf16": {"scoring_func": "sigmoid", "topk_method": "noaux_tc"},
    "deepseek-v32-bf16": {"scoring_func": "sigmoid"},
    "falcon-bf16": {"num_kv_heads": 1},
    # Multipliers become part of the weights, which bf16 would round.
    "falcon-h1-bf16": {"dtype": "float32", "head_dim": 10},
    "glm-bf16": {"layernorm_epsilon": 1.5625e-07, "seq_length": 64},
    "glm-moe-dsa-bf16": {"scoring_func": "sigmoid"},
    "gpt-neox-bf16": {"rotary_pct": 0.5},
    "gpt-neox-in-turn-f16": {"rotary_pct": 0.5},
    "gpt2-f32": {"n_ctx": 40},
    "granite-4-attention-bf16": {"layer_types": ["attention", "attention"], "num_experts_per_tok": 0},
    "granite-4-mamba-bf16": {"layer_types": ["mamba", "attention"]},
    "hunyuan-dense-bf16": {"max_position_embeddings": 32768},
    "hunyuan-moe-bf16": {"moe_intermediate_size": [8, 8], "moe_topk": [2, 2], "num_shared_expert": [1, 1]},
    "kimi-linear-bf16": {"first_k_dense_replace": 1,
                         "linear_attn_config": {"num_heads": 3, "head_dim": 5, "short_conv_kernel_size": 4, "full_attn_layers": [3]}},
    "mimo-v2-flash-bf16": {"hybrid_layer_pattern": [0, 1, 0], "layernorm_epsilon": 1e-05, "moe_layer_freq": [0, 1, 0], "partial_rotary_factor": 0.334,
                           "rope_parameters": None, "rope_theta": 5000000.0, "scoring_func": "sigmoid", "swa_head_dim": 12, "swa_num_attention_heads": 4,
                           "swa_num_key_value_heads": 2, "swa_rope_theta": 10000.0, "swa_v_head_dim": 6, "topk_method": "noaux_tc"},
    "minimax-f32": {"architectures": ["MiniMaxText01ForCausalLM"], "layernorm_full_attention_alpha": 1.2, "layernorm_full_attention_beta": 1.0,
                    "layernorm_linear_attention_alpha": 1.2, "layernorm_linear_attention_beta": 1.0, "layernorm_mlp_alpha": 1.2, "layernorm_mlp_beta": 1.0,
                    "rope_parameters": None, "rope_theta": 1000000.0, "rotary_dim": 6},
    "minimax-m2-f16": {"rotary_dim": 6},
    "minimax-m3-bf16": {"architectures": ["MiniMaxM3SparseForCausalLM"], "moe_layer_freq": [0, 1, 1], "n_shared_experts": 1, "partial_rotary_factor": 0.5,
                        "rope_parameters": None, "rope_theta": 10000.0, "scoring_func": "sigmoid",
                        "sparse_attention_config": {"sparse_num_index_heads": 2, "sparse_index_dim": 6, "sparse_topk_blocks": 3, "sparse_block_size": 4,
                                                    "sparse_local_block": 1, "sparse_attention_freq": [0, 1, 1]}},
    "mpt-clipped-bf16": {"architectures": ["MPTForCausalLM"]},
    "nemotron-h-bf16": {"mamba_d_head": 6},
    "nemotron-h-latent-bf16": {"mamba_d_head": 4},
    "phimoe-bf16": {"architectures": ["PhiMoEForCausalLM"], "original_max_position_embeddings": 64, "rope_theta": 1000000.0},
    "solar-open-bf16": {"partial_rotary_factor": 1.0},
    "step3p7-text-half-bf16": {"text_config": {
        "attention_other_setting": {"num_attention_heads": 4, "num_attention_groups": 2}, "moe_layers_enum": "1,2", "moe_num_experts": 4,
        "moe_router_activation": "sigmoid", "moe_top_k": 2, "need_fp32_gate": True, "norm_expert_weight": True, "num_attention_groups": 2,
        "partial_rotary_factors": [0.5, 1.0, 0.5]}},
    "youtu-bf16": {"moe_intermediate_size": None, "n_routed_experts": None, "num_experts_per_tok": None},
}
# Read as they are: transformers' own config classes would take keys away.
AS_WRITTEN = {"cohere2-bf16", "gpt-neox-bf16", "gpt-neox-in-turn-f16", "mimo-v2-flash-bf16", "minimax-f32", "minimax-m3-bf16", "phimoe-bf16", "step3p7-text-half-bf16"}
# Queries, keys and values in one matrix.
JOINED = {"glm-bf16"}
# Blocks that predict further tokens left out.
NO_MTP = {"qwen3-next-sparse-bf16", "qwen3-5-moe-bf16", "qwen3-5-moe-text-half-bf16"}


def split(tensor, dim):
    half = tensor.shape[dim] // 2
    return tensor.narrow(dim, 0, half).contiguous(), tensor.narrow(dim, half, half).contiguous()


def kimi_linear(tensors):
    return {name.replace("layers.0.block_sparse_moe.", "layers.0.mlp."): t for name, t in tensors.items()}


def minimax(tensors):
    return {name: t for name, t in tensors.items() if "decay" not in name and "slope" not in name}


def minimax_m3(tensors):
    out = {}
    for name, t in tensors.items():
        for old, new in [(".mlp.experts", ".block_sparse_moe.experts"), (".mlp.shared_experts", ".block_sparse_moe.shared_experts"),
                         (".mlp.gate.e_score", ".block_sparse_moe.e_score"), (".mlp.gate.weight", ".block_sparse_moe.gate.weight"), (".indexer.", ".index_")]:
            name = name.replace(old, new)
        if name.endswith("experts.gate_up_proj"):
            for e, pair in enumerate(t):
                gate, up = split(pair, 0)
                out[name.replace("gate_up_proj", f"{e}.w1.weight")] = gate
                out[name.replace("gate_up_proj", f"{e}.w3.weight")] = up
        elif name.endswith("experts.down_proj"):
            out.update({name.replace("down_proj", f"{e}.w2.weight"): down.contiguous() for e, down in enumerate(t)})
        elif "gate_up_proj" in name:
            out[name.replace("gate_up", "gate")], out[name.replace("gate_up", "up")] = split(t, 0)
        else:
            out[name] = t
    return out


RENAMED = {"kimi-linear-bf16": kimi_linear, "minimax-f32": minimax, "minimax-m3-bf16": minimax_m3}


def merge(config, changes):
    for key, value in changes.items():
        if value is None:
            config.pop(key, None)
        elif key == "text_config":
            merge(config[key], value)
        else:
            config[key] = value


def as_published(fixture, folder):
    shutil.copytree(fixture, folder)
    config = json.loads((folder / "config.json").read_text())
    merge(config, PUBLISHED.get(fixture.name, {}))
    (folder / "config.json").write_text(json.dumps(config))
    if fixture.name in RENAMED:
        file = folder / "model.safetensors"
        save_file(RENAMED[fixture.name](load_file(file)), file)
    # Some converters ask for a tokenizer with as many tokens as there are.
    vocab = {f"[{i}]": i for i in range(config.get("text_config", config)["vocab_size"])}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": vocab, "merges": []}}))
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("llama_cpp", type=Path)
    parser.add_argument("fixtures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    sys.path[:0] = [str(args.llama_cpp / "gguf-py"), str(args.llama_cpp)]
    logging.disable(logging.WARNING)
    import conversion
    import gguf
    from conversion import ModelType, get_model_class
    from conversion.base import ModelBase, get_model_architecture

    conversion.load_all_models()
    types = {"float32": gguf.LlamaFileType.ALL_F32, "float16": gguf.LlamaFileType.MOSTLY_F16, "bfloat16": gguf.LlamaFileType.MOSTLY_BF16}
    read = ModelBase.load_hparams
    names = args.names or sorted(p.parent.name for p in args.fixtures.glob("*/golden.safetensors"))
    for name in names:
        with tempfile.TemporaryDirectory() as parent:
            # The name of the folder becomes part of the file.
            folder = Path(parent) / name
            config = as_published(args.fixtures / name, folder)
            raw = {**config, **config.get("text_config", {})}
            ModelBase.load_hparams = staticmethod(lambda path, is_mistral: raw) if name in AS_WRITTEN else read
            ModelBase.no_mtp = name in NO_MTP
            try:
                hparams = ModelBase.load_hparams(folder, False)
                model = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
                model.set_vocab = lambda self: None
                model._get_suppress_tokens = lambda self: None
                dtype = hparams.get("text_config", hparams).get("dtype") or hparams.get("dtype") or hparams.get("torch_dtype") or "float32"
                joined = {"fuse_qkv": True} if name in JOINED else {}
                model(folder, types[dtype], args.out / f"{name}.gguf", eager=True, **joined).write()
                print(name)
            except (Exception, SystemExit) as error:
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
