#!/usr/bin/env python3
"""Write the checkpoints under tests/fixtures and the logits that `transformers` computes for each of them.

    python make_fixtures.py [NAME...] [--out DIR]

Every fixture is a folder with a checkpoint (config.json, model*.safetensors) of random weights and a golden.safetensors:

    input_ids   int64   [T]      a prompt
    logits      float32 [T, V]   of every position of the prompt
    greedy_ids  int64   [S]      what greedy decoding appends to the prompt
    greedy_gap  float32 [S]      largest minus second largest logit at each of these steps

The reference reads the finished files, as any user of the checkpoint would, and computes in float32 whatever type they
store. Needs torch, transformers and safetensors; README.md says which versions made the committed files.
"""
import argparse
import json
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
# A step of greedy decoding tells something only where rounding cannot turn it; seeds that come closer are passed over.
CLEAR_GAP = 0.02
# And a choice of experts that rounding could turn would tell something wrong.
CLEAR_CHOICE = 1e-3


@dataclass
class Fixture:
    """One checkpoint: what it is, and how its files are laid out."""

    name: str
    config: dict
    dtype: torch.dtype = torch.float32
    shards: int = 1
    prompt: int = 16
    steps: int = 12
    # rope_theta beside rope_scaling, as most published checkpoints have it, instead of rope_parameters.
    older_config: bool = False
    # Edits to the tensors of a single file, by name.
    layout: list = field(default_factory=list)
    # `model_type` in the finished config, for a family that the reference knows under another name.
    published_as: str | None = None
    # How the matrices of layers are stored: `fp8` in blocks with scales, `mxfp4` in groups; the reference sees their values.
    quantised: str | None = None


def llama(**changed):
    """A Llama of two layers with grouped keys; `changed` names what a fixture is about."""
    return dict(model_type="llama", vocab_size=80, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5,
                bos_token_id=1, eos_token_id=2, tie_word_embeddings=False, pad_token_id=None) | changed


def gpt2(**changed):
    """A GPT-2 of two layers."""
    return dict(model_type="gpt2", vocab_size=89, n_embd=30, n_layer=2, n_head=3, n_positions=40, bos_token_id=0,
                eos_token_id=0) | changed


def qwen3(**changed):
    """A Qwen3 whose heads are wider than hidden_size / heads."""
    return llama(model_type="qwen3", head_dim=12, rms_norm_eps=1e-6) | changed


def olmo2(**changed):
    """An OLMo 2."""
    return llama(model_type="olmo2", rms_norm_eps=1e-6) | changed


def deepseek_v3(**changed):
    """A DeepSeek V3 of two dense layers, with a compressed query."""
    return dict(model_type="deepseek_v3", vocab_size=80, hidden_size=28, intermediate_size=36, num_hidden_layers=2,
                first_k_dense_replace=2, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=17, kv_lora_rank=12,
                qk_nope_head_dim=8, qk_rope_head_dim=6, v_head_dim=10, max_position_embeddings=64, bos_token_id=0,
                eos_token_id=1) | changed


def qwen3_moe(**changed):
    """A Qwen3 MoE of two sparse layers."""
    return qwen3(model_type="qwen3_moe", num_experts=5, num_experts_per_tok=2, moe_intermediate_size=8, hidden_size=20,
                 head_dim=8, norm_topk_prob=True) | changed


def small(model_type, **changed):
    """The smallest that still has several layers, grouped keys and sizes that are multiples of nothing."""
    return dict(model_type=model_type, vocab_size=67, hidden_size=20, intermediate_size=28, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
                pad_token_id=None) | changed


def windows(model_type, **changed):
    """A model whose prompt is several windows long."""
    return small(model_type, sliding_window=5) | changed


def llama4(**changed):
    """A Llama 4 whose prompt is several chunks long."""
    return small("llama4_text", head_dim=6, intermediate_size=8, intermediate_size_mlp=16, num_local_experts=3, attention_chunk_size=7) | changed


def gpt_oss(**changed):
    """A gpt-oss whose prompt is several windows long."""
    return windows("gpt_oss", head_dim=6, num_local_experts=4, num_experts_per_tok=2, intermediate_size=8) | changed


def by_type(full, local):
    """`rope_parameters` of full and of window layers."""
    return dict(rope_parameters=dict(full_attention=full["rope_parameters"], sliding_attention=local["rope_parameters"]))


def with_images(model_type, text, vision, **changed):
    """A model of images and text, whose text half is what counts; no prompt holds an image's tokens."""
    small_eyes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4)
    return dict(model_type=model_type, text_config=text, vision_config=small_eyes | vision, image_token_index=0) | changed


def rope(kind, theta=10000.0, **numbers):
    """`rope_parameters`. Original lengths are short, so that a prompt of two dozen tokens runs past them."""
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **numbers))


LLAMA3 = rope("llama3", theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
LLAMA4_EYES = dict(vision_output_dim=8, projector_input_dim=8, projector_output_dim=8, num_attention_heads=2)
LONGROPE = rope("longrope", short_factor=[1.0, 1.05, 1.1, 1.3, 1.5], long_factor=[1.1, 2.0, 3.0, 5.0, 8.0])
MSCALE = rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=0.7)


def all_fixtures():
    """The committed set."""
    return [
        Fixture("gpt2-f32", gpt2()),
        Fixture("gpt2-f16-as-published", gpt2(n_embd=32, n_head=4, n_inner=52), torch.float16,
                layout=[without_prefix, with_mask_buffers]),
        Fixture("llama-gqa-tied-bf16-llama3", llama(tie_word_embeddings=True, vocab_size=128, **LLAMA3), torch.bfloat16,
                prompt=24, older_config=True),
        Fixture("llama-mha-f32-sharded", llama(num_key_value_heads=4), shards=2),
        Fixture("llama-yarn-f32", llama(**YARN), prompt=24),
        Fixture("llama-linear-bf16", llama(**rope("linear", factor=4.0)), torch.bfloat16, older_config=True),
        Fixture("llama-mqa-odd-f16", llama(vocab_size=83, hidden_size=60, intermediate_size=172, num_hidden_layers=1,
                                           num_attention_heads=3, num_key_value_heads=1, head_dim=20), torch.float16, prompt=13),
        Fixture("llama-biases-tied-head-stored-f32", llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
                layout=[with_tied_head]),
        Fixture("qwen3-f32", qwen3()),
        Fixture("qwen3-tied-bf16", qwen3(tie_word_embeddings=True, head_dim=20, num_key_value_heads=1), torch.bfloat16,
                older_config=True),
        Fixture("olmo2-mha-f32", olmo2(num_key_value_heads=4)),
        Fixture("olmo2-gqa-bf16", olmo2(num_hidden_layers=3, **rope("default", theta=500000.0)), torch.bfloat16,
                older_config=True),
        Fixture("deepseek-v3-f32", deepseek_v3(hidden_size=20, intermediate_size=28, vocab_size=64, **MSCALE), prompt=24),
        Fixture("deepseek-v2-direct-query-bf16", deepseek_v3(model_type="deepseek_v2", q_lora_rank=None, hidden_size=30,
                                                             num_attention_heads=5, num_key_value_heads=5),
                torch.bfloat16, older_config=True),
        Fixture("kimi-k2-one-head-f32", deepseek_v3(hidden_size=20, num_attention_heads=1, num_key_value_heads=1, kv_lora_rank=9,
                                                    rope_interleave=False), prompt=24, layout=[with_prediction_layer],
                published_as="kimi_k2"),
        Fixture("qwen3-moe-f32", qwen3_moe()),
        Fixture("qwen3-moe-window-bf16", qwen3_moe(use_sliding_window=True, sliding_window=6, num_experts_per_tok=5, norm_topk_prob=False),
                torch.bfloat16, prompt=24, older_config=True),
        Fixture("deepseek-v3-groups-bf16", deepseek_v3(hidden_size=20, first_k_dense_replace=1, n_routed_experts=6, n_group=3,
                                                       topk_group=2, num_experts_per_tok=3, moe_intermediate_size=8,
                                                       n_shared_experts=2, vocab_size=64), torch.bfloat16),
        Fixture("deepseek-v2-groups-f32", deepseek_v3(model_type="deepseek_v2", hidden_size=20, num_attention_heads=4, num_key_value_heads=4,
                                                      first_k_dense_replace=0, num_hidden_layers=1, n_routed_experts=6, n_group=3, topk_group=2,
                                                      topk_method="group_limited_greedy", num_experts_per_tok=2,
                                                      moe_intermediate_size=8, routed_scaling_factor=1.5, vocab_size=64)),
        Fixture("gemma2-window-bf16", windows("gemma2", head_dim=6, num_attention_heads=4, num_key_value_heads=2,
                                              query_pre_attn_scalar=10), torch.bfloat16, prompt=24, older_config=True),
        Fixture("gemma2-one-key-head-f16", windows("gemma2", head_dim=10, attention_bias=True, attn_logit_softcapping=2.0,
                                                   final_logit_softcapping=None, tie_word_embeddings=False), torch.float16, prompt=24),
        Fixture("gemma3-f32", windows("gemma3_text", head_dim=6, num_hidden_layers=3, query_pre_attn_scalar=10,
                                      layer_types=["sliding_attention", "sliding_attention", "full_attention"],
                                      **by_type(rope("linear", 1e6, factor=4.0), rope("default"))), prompt=24),
        Fixture("gemma3-text-half-bf16", with_images("gemma3", windows("gemma3_text", head_dim=6), {}, mm_tokens_per_image=1,
                                                     boi_token_index=1, eoi_token_index=2),
                torch.bfloat16, prompt=24, older_config=True, layout=[with_language_model_first]),
        Fixture("mistral-window-f16", windows("mistral", num_hidden_layers=3), torch.float16, prompt=24),
        Fixture("mixtral-window-f32", windows("mixtral", intermediate_size=8, num_local_experts=3, num_experts_per_tok=2), prompt=24),
        Fixture("mistral3-text-half-f32", with_images("mistral3", small("mistral", head_dim=6, sliding_window=None),
                                                      dict(model_type="pixtral", head_dim=8), tie_word_embeddings=False),
                older_config=True),
        Fixture("qwen3-window-above-bf16", windows("qwen3", num_hidden_layers=2, hidden_size=20, head_dim=8, use_sliding_window=True, max_window_layers=1), torch.bfloat16,
                prompt=24),
        Fixture("qwen2-window-above-bf16", windows("qwen2", num_hidden_layers=3, use_sliding_window=True, max_window_layers=1),
                torch.bfloat16, prompt=24, older_config=True),
        Fixture("smollm3-f32", small("smollm3", num_hidden_layers=3, no_rope_layers=[1, 0, 1])),
        Fixture("olmo3-bf16", windows("olmo3", num_hidden_layers=4, **by_type(
            rope("yarn", 5e5, factor=4.0, original_max_position_embeddings=16), rope("default", 5e5))), torch.bfloat16, prompt=24,
                older_config=True),
        Fixture("phi3-window-f16", windows("phi3", hidden_size=32, rope_parameters=dict(
            rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.75)), torch.float16, prompt=24, older_config=True),
        Fixture("phi3-longrope-outgrown-f32", small("phi3", original_max_position_embeddings=30, **LONGROPE), prompt=24),
        Fixture("phi3-longrope-long-bf16", small("phi3", original_max_position_embeddings=16, **LONGROPE), torch.bfloat16, prompt=24,
                older_config=True),
        Fixture("granite-f32", small("granite", embedding_multiplier=3.0, logits_scaling=0.5, residual_multiplier=0.4,
                                     attention_multiplier=0.3, attention_bias=True)),
        Fixture("cohere2-bf16", windows("cohere2", num_hidden_layers=4, hidden_size=24, logit_scale=0.5), torch.bfloat16, prompt=24,
                older_config=True),
        Fixture("cohere2-one-key-head-bf16", windows("cohere2", num_hidden_layers=5, hidden_size=24, num_key_value_heads=1, head_dim=10, attention_bias=True,
                                                     logit_scale=0.5),
                torch.bfloat16, prompt=24),
        Fixture("llama4-chunks-f32", llama4(num_hidden_layers=4, interleave_moe_layer_step=2, floor_scale=4, attn_scale=0.5), prompt=24),
        Fixture("llama4-text-half-bf16", with_images("llama4", llama4(num_experts_per_tok=2, use_qk_norm=False, no_rope_layers=[0, 1]),
                                                     LLAMA4_EYES), torch.bfloat16, older_config=True),
        Fixture("gpt-oss-f32", gpt_oss(**rope("yarn", 150000.0, factor=4.0, truncate=False, original_max_position_embeddings=16)),
                prompt=24),
        Fixture("gpt-oss-one-expert-bf16", gpt_oss(num_experts_per_tok=1, num_hidden_layers=3), torch.bfloat16, prompt=24,
                older_config=True),
        Fixture("glm4-moe-bf16", small("glm4_moe", num_hidden_layers=3, head_dim=8, use_qk_norm=True, attention_bias=True, n_routed_experts=6,
                                       n_group=3, topk_group=2, num_experts_per_tok=3, moe_intermediate_size=8,
                                       routed_scaling_factor=1.5), torch.bfloat16, older_config=True),
        Fixture("minimax-m2-f16", small("minimax_m2", head_dim=10, num_local_experts=5, num_experts_per_tok=2, intermediate_size=8,
                                        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.6)),
                torch.float16),
        Fixture("gemma3n-bf16", windows("gemma3n_text", num_hidden_layers=4, hidden_size=16, intermediate_size=12, head_dim=6,
                                        num_attention_heads=4, num_key_value_heads=2, num_kv_shared_layers=2, laurel_rank=3,
                                        hidden_size_per_layer_input=5, vocab_size_per_layer_input=60, tie_word_embeddings=True,
                                        layer_types=["sliding_attention", "full_attention"] * 2,
                                        activation_sparsity_pattern=[0.9, 0.0, 0.6, 0.0]), torch.bfloat16, prompt=24),
        Fixture("qwen2-moe-bf16", small("qwen2_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
                                        shared_expert_intermediate_size=12, intermediate_size=24, mlp_only_layers=[0]),
                torch.bfloat16),
        Fixture("llama4-experts-f32", llama4(num_hidden_layers=2, interleave_moe_layer_step=2), prompt=24),
        Fixture("deepseek-v3-fp8", deepseek_v3(hidden_size=20, first_k_dense_replace=1, n_routed_experts=4, n_group=1, topk_group=1,
                                               num_experts_per_tok=2, moe_intermediate_size=12, n_shared_experts=1, vocab_size=64),
                quantised="fp8"),
        Fixture("gpt-oss-mxfp4", gpt_oss(hidden_size=32, intermediate_size=32, num_hidden_layers=1, vocab_size=64), torch.bfloat16,
                quantised="mxfp4"),
        Fixture("qwen3-next-bf16", small("qwen3_next", num_hidden_layers=3, head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4,
                                         linear_key_head_dim=6, linear_value_head_dim=5, moe_intermediate_size=8, num_experts=5,
                                         num_experts_per_tok=2, shared_expert_intermediate_size=6, mlp_only_layers=[1],
                                         layer_types=["linear_attention", "linear_attention", "full_attention"]),
                torch.bfloat16, prompt=16, steps=8, older_config=True, layout=[with_prediction_module]),
        Fixture("kimi-linear-bf16", small("kimi_linear", num_hidden_layers=3, hidden_size=16, num_key_value_heads=2, kv_lora_rank=10,
                                         qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5, linear_num_heads=3, linear_head_dim=5,
                                         moe_intermediate_size=8, num_experts=4, num_experts_per_token=2, num_shared_experts=1,
                                         num_expert_group=2, topk_group=1, model_max_length=64,
                                         layer_types=["linear_attention", "linear_attention", "full_attention"]), torch.bfloat16, prompt=24),
    ]


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
        if choices.least < CLEAR_CHOICE:
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
        parameters += [(name, b) for name, b in model.named_buffers() if name.endswith("correction_bias")]
        for name, parameter in parameters:
            stream = np.random.default_rng([seed, zlib.crc32(name.encode())])
            shape = tuple(parameter.shape)
            if name in inputs and not shares_embedding(model, parameter):
                values = stream.standard_normal(shape) / np.sqrt(inputs[name])
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
    """Notes the least distance between what torch.topk kept last and what it left out first."""

    def __enter__(self):
        self.real, self.least = torch.topk, float("inf")
        torch.topk = self.topk
        return self

    def __exit__(self, *_):
        torch.topk = self.real

    def topk(self, x, k, *args, **options):
        if k < x.shape[-1]:
            best = self.real(x.float(), k + 1, dim=-1).values
            gap = best[..., k - 1] - best[..., k]
            gap = gap[torch.isfinite(gap)]
            self.least = min([self.least, *gap.flatten().tolist()])
        return self.real(x, k, *args, **options)


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
QUANTISED = dict(fp8=dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[BLOCK, BLOCK]),
                 mxfp4=dict(quant_method="mxfp4"))


def quantise(folder, how):
    """Put the values that quantised matrices stand for into the checkpoint, and give the tensors that they are stored as."""
    path = folder / "model.safetensors"
    plain, stored = load_file(path), {}
    for name, matrix in plain.items():
        if how == "fp8" and matrix.ndim == 2 and ".layers." in name and "norm" not in name and not name.endswith("gate.weight"):
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


def reference(folder, fixture, seed):
    """Logits and greedy continuation of the checkpoint in `folder`, recomputing everything at every step."""
    config = AutoConfig.from_pretrained(folder)
    model = auto_class(config).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model = text_model(model)
    stream = np.random.default_rng([seed, zlib.crc32(b"prompt")])
    prompt = torch.from_numpy(stream.integers(3, config.get_text_config().vocab_size, fixture.prompt))
    sequence, chosen, gaps = prompt, [], []
    with torch.inference_mode():
        logits = model(prompt[None], use_cache=False).logits[0]
        for _ in range(fixture.steps):
            best = model(sequence[None], use_cache=False).logits[0, -1].topk(2)
            chosen.append(best.indices[0].item())
            gaps.append((best.values[0] - best.values[1]).item())
            sequence = torch.cat([sequence, best.indices[:1]])
    assert torch.isfinite(logits).all()
    return {"input_ids": prompt.clone(), "logits": logits.float().contiguous(), "greedy_ids": torch.tensor(chosen),
            "greedy_gap": torch.tensor(gaps)}


if __name__ == "__main__":
    main()
