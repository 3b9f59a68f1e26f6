"""Configs of small models, one function for each shape that several fixtures share; `changed` names what a fixture is about."""


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
