"""The committed set of fixtures: what each checkpoint is, and how its files are laid out."""
from dataclasses import dataclass, field

import torch

import layouts

RECURRENCES = {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "kimi_linear", "bailing_hybrid", "olmo_hybrid", "mamba", "falcon_mamba", "jamba",
               "mamba2", "nemotron_h", "bamba", "granitemoehybrid", "falcon_h1", "zamba2", "minimax"}


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
    # How the matrices of layers are stored: `fp8` in blocks with scales, `mxfp4` in groups, or as a form of integers.py has it; the
    # reference sees their values.
    quantised: str | None = None

    @property
    def exact(self):
        """The reference computes in float64: of what a recurrence sums up over a prompt float32 loses too much to say what is right."""
        return self.config.get("text_config", self.config)["model_type"] in RECURRENCES


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
                layout=[layouts.without_prefix, layouts.with_mask_buffers]),
        Fixture("llama-gqa-tied-bf16-llama3", llama(tie_word_embeddings=True, vocab_size=128, **LLAMA3), torch.bfloat16,
                prompt=24, older_config=True),
        Fixture("llama-mha-f32-sharded", llama(num_key_value_heads=4), shards=2),
        Fixture("llama-yarn-f32", llama(**YARN), prompt=24),
        Fixture("llama-linear-bf16", llama(**rope("linear", factor=4.0)), torch.bfloat16, older_config=True),
        Fixture("llama-mqa-odd-f16", llama(vocab_size=83, hidden_size=60, intermediate_size=172, num_hidden_layers=1,
                                           num_attention_heads=3, num_key_value_heads=1, head_dim=20), torch.float16, prompt=13),
        Fixture("llama-biases-tied-head-stored-f32", llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
                layout=[layouts.with_tied_head]),
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
                                                    rope_interleave=False), prompt=24, layout=[layouts.with_prediction_layer],
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
                torch.bfloat16, prompt=24, older_config=True, layout=[layouts.with_language_model_first]),
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
        *(Fixture(f"llama-{form}", llama(hidden_size=64, intermediate_size=96, num_hidden_layers=1), torch.float32, quantised=form)
          for form in ["gptq", "gptq-order", "awq", "int4", "int4-zeros", "int8", "fp8-channels"]),
        Fixture("qwen3-next-bf16", small("qwen3_next", num_hidden_layers=3, head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4,
                                         linear_key_head_dim=6, linear_value_head_dim=5, moe_intermediate_size=8, num_experts=5,
                                         num_experts_per_tok=2, shared_expert_intermediate_size=6, mlp_only_layers=[1],
                                         layer_types=["linear_attention", "linear_attention", "full_attention"]),
                torch.bfloat16, prompt=16, steps=8, older_config=True, layout=[layouts.with_prediction_module]),
        Fixture("kimi-linear-bf16", small("kimi_linear", num_hidden_layers=3, hidden_size=16, num_key_value_heads=2, kv_lora_rank=10,
                                         qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5, linear_num_heads=3, linear_head_dim=5,
                                         moe_intermediate_size=8, num_experts=4, num_experts_per_token=2, num_shared_experts=1,
                                         num_expert_group=2, topk_group=1, model_max_length=64,
                                         layer_types=["linear_attention", "linear_attention", "full_attention"]), torch.bfloat16, prompt=24),
        *families(),
    ]


def latent(model_type, **changed):
    """Latent attention with a compressed query, a dense layer before a sparse one."""
    return small(model_type, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=11, kv_lora_rank=10, qk_nope_head_dim=6, qk_rope_head_dim=4,
                 v_head_dim=5, moe_intermediate_size=8, n_routed_experts=4, num_experts_per_tok=2) | changed


def delta_net(model_type, **changed):
    """Two gated delta networks and a gated attention, each with experts where the family has some."""
    return small(model_type, num_hidden_layers=3, head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=6,
                 linear_value_head_dim=5, layer_types=["linear_attention", "linear_attention", "full_attention"]) | changed


def delta_net_moe(model_type="qwen3_5_moe_text", **changed):
    """The same with experts."""
    return delta_net(model_type, num_hidden_layers=2, layer_types=["linear_attention", "full_attention"], moe_intermediate_size=8, 
                     shared_expert_intermediate_size=6, num_experts=4, num_experts_per_tok=2) | changed


MINISTRAL = dict(factor=4.0, mscale=1.0, mscale_all_dim=1.0, beta_fast=32.0, beta_slow=1.0, llama_4_scaling_beta=0.3)
ATTENTION_ONLY = dict(layer_types=["attention", "attention"], num_local_experts=0)
B16 = torch.bfloat16


def families():
    """One or two of each further family."""
    return [
        Fixture("qwen3-5-bf16", delta_net("qwen3_5_text"), B16, steps=8, layout=[layouts.with_prediction_module]),
        Fixture("qwen3-5-moe-bf16", delta_net_moe(), B16, prompt=12, steps=6),
        Fixture("qwen3-5-moe-text-half-bf16", with_images("qwen3_5_moe", delta_net_moe(), dict(depth=1, num_heads=1, out_hidden_size=20, num_position_embeddings=4)), B16, prompt=12,
                steps=6, layout=[layouts.with_experts_stacked]),
        Fixture("glm4-bf16", small("glm4", head_dim=8), B16),
        Fixture("glm4-moe-lite-bf16", latent("glm4_moe_lite", mlp_layer_types=["sparse", "dense"]), B16, older_config=True),
        Fixture("longcat-flash-bf16", dict(model_type="longcat_flash", vocab_size=64, hidden_size=20, num_layers=2, num_attention_heads=3,
                                           num_key_value_heads=3, q_lora_rank=9, kv_lora_rank=12, qk_nope_head_dim=6, qk_rope_head_dim=4, head_dim=4, v_head_dim=5,
                                           ffn_hidden_size=12, expert_ffn_hidden_size=8, n_routed_experts=4, zero_expert_num=3, moe_topk=3, routed_scaling_factor=2.0,
                                           max_position_embeddings=64, pad_token_id=None), B16),
        Fixture("deepseek-v32-bf16", latent("deepseek_v32", n_routed_experts=6, n_group=3, topk_group=2, first_k_dense_replace=1, index_topk=4,
                                            index_n_heads=5, index_head_dim=6), B16, prompt=14, steps=5),
        Fixture("glm-moe-dsa-bf16", latent("glm_moe_dsa", num_hidden_layers=3, first_k_dense_replace=1, index_topk=5, index_n_heads=5, index_head_dim=6,
                                           indexer_types=["full", "shared", "full"]), B16, prompt=14, steps=5),
        Fixture("minimax-m3-bf16", small("minimax_m3_vl_text", num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8, rotary_dim=4, intermediate_size=8,
                                         dense_intermediate_size=12, shared_intermediate_size=6, num_local_experts=4, num_experts_per_tok=2, index_n_heads=2, index_head_dim=6,
                                         index_block_size=4, index_topk_blocks=3, layer_types=["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"],
                                         mlp_layer_types=["dense", "sparse", "sparse"], swiglu_limit=1.0,
                                         **rope("default", partial_rotary_factor=0.5)), B16, prompt=20, steps=5),
        Fixture("step3p7-text-half-bf16", with_images("step3p7", windows(
            "step3p5", pad_token_id=0, num_hidden_layers=3, hidden_size=16, head_dim=6, num_sliding_attention_heads=4, num_key_value_heads=2, intermediate_size=12, moe_intermediate_size=8,
            n_routed_experts=4, num_experts_per_tok=2, share_expert_dim=6, layer_types=["full_attention", "sliding_attention", "full_attention"],
            mlp_layer_types=["dense", "sparse", "sparse"], swiglu_limits=[0.0, 0.0, 0.3], swiglu_limits_shared=[0.5, 0.0, 0.4], **by_type(
                rope("default", 5e5, partial_rotary_factor=0.67), rope("default", partial_rotary_factor=1.0))), dict(mlp_ratio=1.0), tie_word_embeddings=False), B16, prompt=24, steps=8),
        Fixture("ministral3-text-half-bf16", with_images("mistral3", small("ministral3", head_dim=6, **rope(
            "yarn", 1e6, **MINISTRAL, original_max_position_embeddings=16)), dict(model_type="pixtral", head_dim=8),
                                                         tie_word_embeddings=False), B16, prompt=24),
        Fixture("mistral4-text-half-bf16", with_images("mistral3", latent("mistral4", **rope("yarn", 1e6, **MINISTRAL, original_max_position_embeddings=64)),
                                                       dict(model_type="pixtral", head_dim=8), tie_word_embeddings=False), B16),
        Fixture("seed-oss-bf16", small("seed_oss", head_dim=8, attention_out_bias=True), B16),
        Fixture("muse-glimmer-text-half-bf16", with_images("muse_glimmer", windows("muse_glimmer_text", num_hidden_layers=3, head_dim=6,
                                                                                   output_multiplier=1.5), {}, tie_word_embeddings=False,
                                                               out_hidden_size=8, projector_hidden_size=8), B16, prompt=24),
        Fixture("lfm2-bf16", small("lfm2", num_hidden_layers=2, layer_types=["conv", "full_attention"], intermediate_size=30, block_multiple_of=4, conv_bias=True), B16),
        Fixture("mamba2-bf16", dict(model_type="mamba2", vocab_size=61, hidden_size=16, num_hidden_layers=2, num_heads=4, head_dim=8, n_groups=2, state_size=6), B16),
        Fixture("nemotron-h-bf16", dict(model_type="nemotron_h", vocab_size=61, hidden_size=16, mamba_num_heads=4, mamba_head_dim=6, n_groups=2, ssm_state_size=5,
                                        num_attention_heads=2, num_key_value_heads=1, head_dim=8, intermediate_size=12, n_routed_experts=4, num_experts_per_tok=2,
                                        layers_block_type=["linear_attention", "mlp", "full_attention", "moe"], moe_intermediate_size=8,
                                        moe_shared_expert_intermediate_size=8, max_position_embeddings=64, use_conv_bias=False), B16),
        Fixture("granite-4-mamba-bf16", small("granitemoehybrid", num_hidden_layers=2, layer_types=["linear_attention", "full_attention"], mamba_n_heads=4, mamba_n_groups=2, mamba_d_state=6,
                                              hidden_size=16, intermediate_size=8, num_local_experts=4, shared_intermediate_size=12, embedding_multiplier=6.0,
                                              logits_scaling=0.5, residual_multiplier=0.5, attention_multiplier=0.3), B16),
        Fixture("lfm2-moe-bf16", small("lfm2_moe", hidden_size=16, num_hidden_layers=3, layer_types=["conv", "full_attention", "conv"], num_dense_layers=1, moe_intermediate_size=8,
                                       num_experts=4, num_experts_per_tok=2), B16),
        Fixture("olmo-hybrid-bf16", small("olmo_hybrid", hidden_size=16, num_hidden_layers=2, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=1,
                                          linear_num_value_heads=2, linear_key_head_dim=12, linear_value_head_dim=6, intermediate_size=20), B16),
        Fixture("gemma4-e-bf16", windows("gemma4_text", num_hidden_layers=5, layer_types=["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"],
                                         head_dim=6, global_head_dim=8, hidden_size_per_layer_input=4, vocab_size_per_layer_input=67, num_kv_shared_layers=2,
                                         use_double_wide_mlp=True), B16, prompt=24),
        Fixture("gemma4-keys-as-values-bf16", windows("gemma4_text", num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"], head_dim=6, global_head_dim=8,
                                                      num_global_key_value_heads=1, attention_k_eq_v=True, hidden_size_per_layer_input=0, final_logit_softcapping=5.0), B16, prompt=24),
        Fixture("bamba-bf16", small("bamba", hidden_size=24, num_hidden_layers=2, attn_layer_indices=[1], mamba_n_heads=4, mamba_n_groups=1, mamba_d_state=6), B16),
        Fixture("ernie4-5-f32", small("ernie4_5", head_dim=6, use_bias=True, num_hidden_layers=1)),
        Fixture("ernie4-5-moe-bf16", small("ernie4_5_moe", num_hidden_layers=3, moe_intermediate_size=8, moe_num_experts=4, moe_k=2, moe_layer_start_index=1,
                                           moe_layer_end_index=1, use_bias=True), B16),
        Fixture("exaone4-bf16", windows("exaone4", num_hidden_layers=3, sliding_window_pattern=2), B16, prompt=24),
        Fixture("cohere2-moe-bf16", windows("cohere2_moe", num_hidden_layers=3, head_dim=6, logit_scale=0.5, intermediate_size=8, num_experts=4, num_shared_experts=1,
                                            mlp_layer_types=["dense", "sparse", "sparse"], prefix_dense_intermediate_size=12), B16, prompt=24),
        Fixture("cohere2-moe-rms-sigmoid-bf16", windows("cohere2_moe", head_dim=6, logit_scale=0.5, intermediate_size=8, num_experts=4, expert_selection_fn="sigmoid",
                                                        rms_norm_eps=1e-5, num_shared_experts=1, shared_expert_combination_strategy="sum"), B16, prompt=24),
        Fixture("hunyuan-dense-bf16", small("hunyuan_v1_dense", head_dim=8, **rope("dynamic", alpha=1000.0, factor=1.0)), B16, older_config=True),
        Fixture("hunyuan-moe-bf16", small("hunyuan_v1_moe", head_dim=8, intermediate_size=8, num_experts=4, moe_topk=[2, 1]), B16),
        Fixture("hunyuan-v3-bf16", small("hy_v3", head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, num_key_value_heads=2), B16),
        Fixture("arcee-f16", small("arcee"), torch.float16),
        Fixture("afmoe-bf16", windows("afmoe", num_hidden_layers=3, head_dim=6, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
                                      global_attn_every_n_layers=2, mup_enabled=True, route_scale=1.5), B16, prompt=24),
        Fixture("solar-open-bf16", small("solar_open", head_dim=8, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=8), B16),
        Fixture("dots1-bf16", windows("dots1", num_hidden_layers=3, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, n_shared_experts=1,
                                      first_k_dense_replace=1, max_window_layers=2, norm_topk_prob=True, attention_bias=True, num_key_value_heads=2),
                B16, prompt=24),
        Fixture("olmoe-bf16", small("olmoe", intermediate_size=8, num_experts=4, num_experts_per_tok=2), B16),
        Fixture("flex-olmo-bf16", small("flex_olmo", intermediate_size=8, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True), B16),
        Fixture("vaultgemma-bf16", windows("vaultgemma", head_dim=6, query_pre_attn_scalar=10), B16, prompt=24),
        Fixture("granitemoe-bf16", small("granitemoe", intermediate_size=8, num_local_experts=4, num_experts_per_tok=2, embedding_multiplier=3.0,
                                         logits_scaling=0.5, residual_multiplier=0.4, attention_multiplier=0.2), B16),
        Fixture("granite-4-attention-bf16", small("granitemoehybrid", shared_intermediate_size=28, position_embedding_type="rope", mamba_n_heads=1,
                                                  mamba_d_head=40, embedding_multiplier=3.0, residual_multiplier=0.4, **ATTENTION_ONLY), B16),
        Fixture("nemotron-bf16", small("nemotron", head_dim=12), B16),
        Fixture("minicpm3-bf16", latent("minicpm3", num_attention_heads=4, num_key_value_heads=4, dim_model_base=30, scale_emb=2), B16),
        Fixture("starcoder2-bf16", windows("starcoder2"), B16, prompt=24),
        Fixture("phi-bf16", small("phi", qk_layernorm=True, num_key_value_heads=2, rope_parameters=dict(
            rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.4)), B16, older_config=True),
        Fixture("stablelm-bf16", small("stablelm", use_qkv_bias=True, hidden_size=32), B16),
        Fixture("stablelm-side-by-side-bf16", small("stablelm", use_parallel_residual=True, hidden_size=32), B16, older_config=True),
        Fixture("falcon-bf16", falcon(), B16),
        Fixture("falcon-two-norms-bf16", falcon(new_decoder_architecture=True, num_kv_heads=2), B16),
        Fixture("falcon-in-turn-f16", falcon(multi_query=False, parallel_attn=False), torch.float16),
        Fixture("opt-bf16", opt(), B16),
        Fixture("opt-norms-after-bf16", opt(do_layer_norm_before=False, word_embed_proj_dim=12), B16),
        Fixture("cohere-bf16", small("cohere", logit_scale=0.5), B16),
        Fixture("cohere-gains-of-heads-bf16", small("cohere", num_attention_heads=5, num_key_value_heads=1, hidden_size=30, use_qk_norm=True, logit_scale=0.5),
                B16),
        Fixture("gemma-bf16", small("gemma", head_dim=8, hidden_act="gelu"), B16, older_config=True),
        Fixture("glm-bf16", small("glm", head_dim=8), B16),
        Fixture("ministral-bf16", windows("ministral", num_hidden_layers=3, head_dim=6, layer_types=["full_attention", "sliding_attention",
                                                                                                   "sliding_attention"]), B16, prompt=24),
        Fixture("olmo-bf16", small("olmo"), B16),
        Fixture("gptj-bf16", gptj(), B16),
        Fixture("codegen-bf16", gptj("codegen", n_head=4, rotary_dim=4), B16),
        Fixture("gpt-neo-bf16", gpt_neo(), B16, prompt=24),
        Fixture("jais2-bf16", small("jais2"), B16),
        Fixture("cwm-bf16", windows("cwm", num_hidden_layers=3, head_dim=6, **LLAMA3), B16, prompt=24),
        Fixture("gpt-neox-bf16", gpt_neox(), B16),
        Fixture("gpt-neox-in-turn-f16", gpt_neox(use_parallel_residual=False, num_attention_heads=2, attention_bias=False), torch.float16),
        Fixture("gpt-bigcode-bf16", gptj("gpt_bigcode"), B16),
        Fixture("gpt-bigcode-by-heads-f32", gptj("gpt_bigcode", multi_query=False, scale_attn_weights=False, n_layer=1)),
        Fixture("persimmon-bf16", small("persimmon", hidden_size=24, num_attention_heads=3), B16, older_config=True),
        Fixture("nanochat-bf16", small("nanochat", hidden_size=24), B16),
        Fixture("exaone-moe-bf16", windows("exaone_moe", num_hidden_layers=3, head_dim=6, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
                                           sliding_window_pattern=2), B16, prompt=24),
        Fixture("granitemoeshared-bf16", small("granitemoeshared", intermediate_size=8, num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=12,
                                               residual_multiplier=0.4, attention_multiplier=0.2), B16),
        Fixture("internlm3-bf16", small("internlm3", head_dim=8, attention_bias=True, mlp_bias=True), B16),
        Fixture("youtu-bf16", latent("youtu", tie_word_embeddings=False), B16),
        Fixture("hyperclovax-bf16", small("hyperclovax", embedding_multiplier=3.0, logits_scaling=0.5, residual_multiplier=0.4, attention_multiplier=0.2), B16),
        Fixture("qwen2-vl-text-half-bf16", with_images("qwen2_vl", small("qwen2_vl_text", **rope("default", 1e6, mrope_section=[1, 2, 2])),
                                                       dict(depth=1, embed_dim=8, hidden_size=20, num_heads=1), vision_start_token_id=0), B16),
        Fixture("qwen3-vl-text-half-bf16", with_images("qwen3_vl", small("qwen3_vl_text", head_dim=8, **rope(
            "default", 5e6, mrope_section=[2, 1, 1], mrope_interleaved=True)), dict(depth=1, num_heads=1, out_hidden_size=20, num_position_embeddings=4,
                                                                               deepstack_visual_indexes=[0]), vision_start_token_id=0), B16, older_config=True),
        Fixture("smolvlm-text-half-bf16", with_images("smolvlm", small("llama"), {}, scale_factor=2, tie_word_embeddings=False), B16),
        Fixture("mellum-bf16", windows("mellum", num_hidden_layers=3, head_dim=6, moe_intermediate_size=8, num_experts=4, num_experts_per_tok=2,
                                       layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                       mlp_layer_types=["dense", "sparse", "sparse"]), B16, prompt=24),
        Fixture("iquestcoder-bf16", small("iquestcoder", head_dim=8, attention_bias=True), B16),
        Fixture("biogpt-bf16", small("biogpt", max_position_embeddings=40, tie_word_embeddings=False), B16),
        Fixture("xglm-f32", dict(model_type="xglm", vocab_size=67, d_model=20, num_layers=2, attention_heads=2, ffn_dim=28, max_position_embeddings=64,
                                 tie_word_embeddings=False), prompt=24),
        Fixture("xglm-tied-bf16", dict(model_type="xglm", vocab_size=67, d_model=12, num_layers=2, attention_heads=3, ffn_dim=28, max_position_embeddings=64,
                                       scale_embedding=False), B16),
        Fixture("ctrl-bf16", dict(model_type="ctrl", vocab_size=67, n_embd=20, n_layer=2, n_head=2, dff=28, n_positions=64, bos_token_id=1, eos_token_id=2,
                                  tie_word_embeddings=False), B16, prompt=24),
        Fixture("axk1-bf16", latent("axk1", n_routed_experts=6, n_group=3, topk_group=2, n_shared_experts=1, mlp_layer_types=["dense", "sparse"]), B16),
        Fixture("qwen3-vl-moe-text-half-bf16", with_images("qwen3_vl_moe", small("qwen3_vl_moe_text", head_dim=8, num_experts=4, num_experts_per_tok=2,
                                                                                 moe_intermediate_size=8, mlp_only_layers=[0], **rope(
            "default", 5e6, mrope_section=[2, 1, 1], mrope_interleaved=True)), dict(depth=1, num_heads=1, out_hidden_size=20, num_position_embeddings=4,
                                                                               deepstack_visual_indexes=[0]), vision_start_token_id=0), B16, layout=[layouts.with_experts_transposed]),
        Fixture("falcon-h1-bf16", falcon_h1(), B16),
        Fixture("falcon-h1-norm-first-f16", falcon_h1(mamba_rms_norm=True, mamba_proj_bias=True, projectors_bias=True, mamba_conv_bias=False), torch.float16, older_config=True),
        Fixture("falcon-h1-gate-first-bf16", falcon_h1(mamba_rms_norm=True, mamba_norm_before_gate=False, tie_word_embeddings=True), B16),
        Fixture("bloom-bf16", bloom(tie_word_embeddings=False), B16, prompt=24),
        Fixture("bloom-norms-in-the-stream-f32", bloom(hidden_size=16, n_head=4, apply_residual_connection_post_layernorm=True, tie_word_embeddings=False), prompt=24),
        Fixture("mpt-clipped-bf16", dict(model_type="mpt", vocab_size=67, d_model=24, n_heads=6, n_layers=2, max_seq_len=64, attn_config=dict(clip_qkv=0.7),
                                         bos_token_id=1, eos_token_id=2), B16, prompt=24),
        Fixture("olmo-clipped-f16", small("olmo", clip_qkv=0.6), torch.float16),
        Fixture("apertus-bf16", small("apertus"), B16),
        Fixture("mamba-bf16", mamba(), B16),
        Fixture("mamba-biases-f32", mamba(use_bias=True, use_conv_bias=False, time_step_rank=7, conv_kernel=3, tie_word_embeddings=False, hidden_size=12)),
        Fixture("falcon-mamba-bf16", mamba(model_type="falcon_mamba", tie_word_embeddings=False), B16),
        Fixture("jamba-bf16", small("jamba", num_hidden_layers=3, hidden_size=16, intermediate_size=8, mamba_d_state=5, mamba_dt_rank=3, attn_layer_period=3, attn_layer_offset=1,
                                    num_experts=3, num_experts_per_tok=2), B16),
        Fixture("minimax-f32", small("minimax", hidden_size=16, head_dim=6, intermediate_size=8, num_hidden_layers=3, vocab_size=61, num_local_experts=3, num_experts_per_tok=2,
                                     layer_types=["linear_attention", "full_attention", "linear_attention"], block_size=5, full_attn_alpha_factor=1.3,
                                     full_attn_beta_factor=0.7, linear_attn_alpha_factor=1.5, linear_attn_beta_factor=0.8, mlp_alpha_factor=1.2, mlp_beta_factor=0.6), prompt=24),
        Fixture("gemma4-experts-bf16", windows("gemma4_text", num_hidden_layers=2, hidden_size=16, intermediate_size=12, head_dim=6, global_head_dim=10, num_attention_heads=4,
                                               num_key_value_heads=2, hidden_size_per_layer_input=0, layer_types=["sliding_attention", "full_attention"],
                                               enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=8), B16, prompt=24),
        Fixture("phimoe-bf16", small("phimoe", intermediate_size=8, num_local_experts=5, router_jitter_noise=0.3, attention_bias=True, lm_head_bias=True), B16),
        Fixture("mimo-v2-flash-bf16", small("mimo_v2_flash", num_hidden_layers=3, head_dim=12, v_head_dim=6, num_attention_heads=4, sliding_window=5,
                                            layer_types=["full_attention", "sliding_attention", "full_attention"], mlp_layer_types=["dense", "sparse", "dense"],
                                            moe_intermediate_size=8, num_experts_per_tok=2, n_routed_experts=4), B16, prompt=24),
        Fixture("laguna-bf16", small("laguna", num_hidden_layers=3, hidden_size=16, head_dim=6, num_key_value_heads=2, num_attention_heads_per_layer=[2, 4, 2], sliding_window=5,
                                     layer_types=["full_attention", "sliding_attention", "full_attention"], mlp_layer_types=["dense", "sparse", "dense"], num_experts=3,
                                     num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=6, **by_type(
                                         rope("default", 5e5, partial_rotary_factor=0.67), rope("default", partial_rotary_factor=1.0))), B16, prompt=24),
        Fixture("laguna-router-cap-f32", small("laguna", num_hidden_layers=1, hidden_size=16, head_dim=8, num_attention_heads_per_layer=[2], layer_types=["full_attention"],
                                               mlp_layer_types=["sparse"], num_experts=5, num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=6,
                                               moe_router_logit_softcapping=0.7)),
        Fixture("laguna-gate-of-components-f16", small("laguna", hidden_size=16, head_dim=8, gating="per-element", attention_bias=True, mlp_layer_types=["dense", "dense"],
                                                       layer_types=["full_attention", "full_attention"]), torch.float16),
        Fixture("bailing-hybrid-bf16", dict(model_type="bailing_hybrid", vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3, head_dim=4,
                                            q_lora_rank=None, kv_lora_rank=10, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5, intermediate_size=20, layer_group_size=2,
                                            first_k_dense_replace=1, moe_intermediate_size=8, num_local_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1,
                                            max_position_embeddings=64, num_mtp_layers=0, bos_token_id=1, eos_token_id=2, pad_token_id=None), B16, prompt=24),
        Fixture("zamba2-bf16", zamba2(), B16),
        Fixture("zamba2-one-block-f16", zamba2(use_mem_rope=True, num_mem_blocks=1, num_key_value_heads=2, add_bias_linear=True,
                                               layers_block_type=["mamba", "hybrid", "hybrid"]), torch.float16),
        Fixture("inkling-bf16", inkling(layer_types=["hybrid_sliding", "hybrid", "hybrid_sliding"], mlp_layer_types=["dense", "sparse", "sparse"], log_scaling_n_floor=6, log_scaling_alpha=0.5),
                B16, prompt=24),
        Fixture("inkling-text-half-bf16", dict(model_type="inkling_mm_model", tie_word_embeddings=False, image_token_id=66, audio_token_id=65, image_bos_token_id=64, audio_bos_token_id=63,
                                               text_config=inkling(layer_types=["hybrid", "hybrid_sliding"], mlp_layer_types=["dense", "sparse"], unpadded_vocab_size=66),
                                               audio_config=dict(model_type="inkling_audio", n_mel_bins=2, mel_vocab_size=3),
                                               vision_config=dict(model_type="inkling_vision", patch_size=4, hidden_size=8, n_layers=2, num_attention_heads=2)), B16, prompt=24),
        Fixture("nemotron-h-latent-bf16", dict(model_type="nemotron_h", vocab_size=61, hidden_size=16, mamba_num_heads=4, mamba_head_dim=4, n_groups=1, ssm_state_size=5,
                                               num_attention_heads=2, num_key_value_heads=1, head_dim=6, intermediate_size=20, layers_block_type=["mamba", "moe"],
                                               n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, moe_shared_expert_intermediate_size=10,
                                               moe_latent_size=12, max_position_embeddings=64), B16),
    ]


def falcon(**changed):
    """A Falcon of two layers."""
    return dict(model_type="falcon", vocab_size=67, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
                ffn_hidden_size=28, bos_token_id=1, eos_token_id=2, pad_token_id=None) | changed


def opt(**changed):
    """An OPT of two layers."""
    return dict(model_type="opt", vocab_size=67, hidden_size=20, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=40, ffn_dim=28,
                word_embed_proj_dim=20, bos_token_id=1, eos_token_id=2, pad_token_id=None) | changed


def gptj(model_type="gptj", **changed):
    """A GPT-J of two layers, or one of its relatives."""
    return dict(model_type=model_type, vocab_size=67, n_embd=24, n_layer=2, n_head=3, n_inner=28, n_positions=40, rotary_dim=6, bos_token_id=1,
                eos_token_id=2) | changed


def gpt_neo(**changed):
    """A GPT-Neo whose prompt is several windows long."""
    return dict(model_type="gpt_neo", vocab_size=67, hidden_size=20, num_layers=2, num_heads=2, intermediate_size=28, max_position_embeddings=40,
                window_size=5, attention_types=[[["global", "local"], 1]], bos_token_id=1, eos_token_id=2) | changed


def gpt_neox(**changed):
    """A GPT-NeoX of two layers, half of whose components rotate."""
    return dict(model_type="gpt_neox", vocab_size=67, hidden_size=24, intermediate_size=28, num_hidden_layers=2, num_attention_heads=3,
                max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
                rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)) | changed


def falcon_h1(**changed):
    """A Falcon-H1 of two layers, all of whose multipliers differ."""
    return small("falcon_h1", mamba_d_ssm=16, mamba_n_heads=4, mamba_n_groups=2, mamba_d_state=5, ssm_multipliers=[0.4, 0.3, 0.2, 0.5, 0.7],
                 mlp_multipliers=[0.9, 0.4], ssm_in_multiplier=1.25, ssm_out_multiplier=0.6, attention_in_multiplier=0.8, attention_out_multiplier=0.9,
                 key_multiplier=0.5, embedding_multiplier=2.0, lm_head_multiplier=0.5) | changed


def bloom(**changed):
    """A BLOOM of two layers, whose heads are no power of two."""
    return dict(model_type="bloom", vocab_size=67, hidden_size=20, n_layer=2, n_head=5, bos_token_id=1, eos_token_id=2, pad_token_id=None) | changed


def inkling(layer_types, **changed):
    """The text half of an Inkling, with other heads in layers with a window."""
    return small("inkling_text", hidden_size=16, intermediate_size=20, num_hidden_layers=len(layer_types), layer_types=layer_types, num_attention_heads=4, num_key_value_heads=2, head_dim=6,
                 swa_num_attention_heads=6, swa_num_key_value_heads=2, swa_head_dim=4, sliding_window_size=5, d_rel=3, rel_extent=9, moe_intermediate_size=8, n_routed_experts=5,
                 num_experts_per_tok=2, n_shared_experts=2, route_scale=2.5, logits_mup_width_multiplier=0.7, tie_word_embeddings=False) | changed


def mamba(model_type="mamba", **changed):
    """A Mamba of two layers, or one of its relatives."""
    return dict(model_type=model_type, vocab_size=61, hidden_size=16, num_hidden_layers=2, state_size=5, bos_token_id=1, eos_token_id=2, pad_token_id=None) | changed


def zamba2(**changed):
    """A Zamba 2 whose three hybrid layers share two blocks."""
    layers = changed.get("layers_block_type", ["hybrid", "mamba", "hybrid", "hybrid"])
    return dict(model_type="zamba2", vocab_size=61, hidden_size=12, num_hidden_layers=len(layers), layers_block_type=layers, mamba_d_state=5, n_mamba_heads=4, mamba_ngroups=2,
                intermediate_size=14, num_attention_heads=4, num_key_value_heads=4, num_mem_blocks=2, adapter_rank=3, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
                pad_token_id=None) | changed
