"""One tiny random model of every architecture that people merge, made in a few milliseconds.

What holds for a Llama need not hold for a mixture of experts, a tied encoder or a vision model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Animal:
    """An architecture, and the settings of its tiny model."""

    name: str  # unique, for the ids of tests and the rows of a table
    kind: str  # the class in transformers
    config: str  # the class of its config
    settings: Mapping[str, Any]  # what the config is made of
    inputs: str = "text"  # what its forward needs: a key of INPUTS
    mergekit: bool = True  # whether mergekit 0.1.5 has an architecture file or class for `kind`


# Seven sentences of seven words: as one question with seven answers they serve a multiple choice
# too. The ids below 8 and above 56 are left to special tokens.
WORDS = torch.arange(8, 57).view(7, 7)
SOUND = torch.linspace(-1, 1, 7 * 8 * 16).view(7, 8, 16)
INPUTS: Mapping[str, Mapping[str, torch.Tensor]] = {
    "text": {"input_ids": WORDS},
    "seq2seq": {"input_ids": WORDS, "decoder_input_ids": WORDS.flip(0)},
    "speech": {"input_features": SOUND, "decoder_input_ids": WORDS},
}

# Settings of parts: the names below say what they are part of.
IDS = {"vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2}
PADDED = {**IDS, "pad_token_id": 0}
BLOCKS = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
ENCODER = {**PADDED, **BLOCKS, "max_position_embeddings": 32}
DECODER = {**ENCODER, "num_key_value_heads": 2}
TIED = {"tie_word_embeddings": True}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED_EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
SLIDING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
HALF_ROTARY = {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}
LLAMA_3_ROTARY = {
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
}
YARN = {
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 1000000.0,
        "factor": 2.0,
        "original_max_position_embeddings": 16,
        "llama_4_scaling_beta": 0.1,
    }
}
LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4,
    "v_head_dim": 4,
}
DELTA_NET = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_d_state": 4,
    "mamba_n_groups": 2,
    "mamba_chunk_size": 4,
}
GPT = {**IDS, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 4}
SEQ2SEQ = {
    **PADDED,
    "decoder_start_token_id": 2,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
TRANSLATOR = {**SEQ2SEQ, "max_position_embeddings": 32}
T5 = {
    "vocab_size": 64,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
}
DISTILBERT = {
    **PADDED,
    "dim": 16,
    "hidden_dim": 24,
    "n_layers": 2,
    "n_heads": 4,
    "max_position_embeddings": 32,
}
EYE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
SIGLIP = {**EYE, "model_type": "siglip_vision_model"}
QWEN_EYE = {"depth": 1, "num_heads": 2, "patch_size": 4, "temporal_patch_size": 1}
QWEN_EYE_OUT = {**QWEN_EYE, "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 16}
QWEN_EYE_GRID = {**QWEN_EYE_OUT, "num_position_embeddings": 16}
QWEN_SIGNS = {
    "image_token_id": 60,
    "video_token_id": 61,
    "vision_start_token_id": 62,
    "vision_end_token_id": 63,
}
QWEN_TEXT = {
    **DECODER,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1]},
}
GEMMA_4_TEXT = {
    **DECODER,
    **SLIDING,
    "head_dim": 4,
    "global_head_dim": 8,
    "vocab_size_per_layer_input": 64,
    "hidden_size_per_layer_input": 4,
}
LLAMA_4_TEXT = {
    **DECODER,
    "head_dim": 4,
    "intermediate_size_mlp": 24,
    "num_local_experts": 4,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 2,
    "no_rope_layers": [1, 0],
    "attention_chunk_size": 4,
}

ZOO: tuple[Animal, ...] = (
    # Llama, and what differs from it by a norm, a bias or a gate.
    Animal("llama", "LlamaForCausalLM", "LlamaConfig", DECODER),
    Animal("llama-3", "LlamaForCausalLM", "LlamaConfig", {**DECODER, **TIED, **LLAMA_3_ROTARY}),
    Animal(
        "llama-biases",
        "LlamaForCausalLM",
        "LlamaConfig",
        {**DECODER, "attention_bias": True, "mlp_bias": True},
    ),
    Animal("mistral", "MistralForCausalLM", "MistralConfig", {**DECODER, "sliding_window": 4}),
    Animal(
        "mistral-nemo",
        "MistralForCausalLM",
        "MistralConfig",
        {**DECODER, "head_dim": 8, "sliding_window": None},
    ),
    Animal(
        "ministral-3",
        "Ministral3ForCausalLM",
        "Ministral3Config",
        {**DECODER, **YARN, "head_dim": 4},
        mergekit=False,
    ),
    Animal("qwen2", "Qwen2ForCausalLM", "Qwen2Config", DECODER),
    Animal("qwen2-tied", "Qwen2ForCausalLM", "Qwen2Config", {**DECODER, **TIED}),
    Animal("qwen3", "Qwen3ForCausalLM", "Qwen3Config", {**DECODER, "head_dim": 8}),
    Animal("gemma", "GemmaForCausalLM", "GemmaConfig", {**DECODER, "head_dim": 8}),
    Animal("gemma2", "Gemma2ForCausalLM", "Gemma2Config", {**DECODER, **SLIDING, "head_dim": 8}),
    Animal(
        "gemma3", "Gemma3ForCausalLM", "Gemma3TextConfig", {**DECODER, **SLIDING, "head_dim": 8}
    ),
    Animal(
        "gemma3n",
        "Gemma3nForCausalLM",
        "Gemma3nTextConfig",
        {
            **DECODER,
            "head_dim": 8,
            "num_hidden_layers": 4,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": 64,
            "hidden_size_per_layer_input": 4,
            "laurel_rank": 4,
            "altup_num_inputs": 2,
            "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
        },
        mergekit=False,
    ),
    Animal("gemma4", "Gemma4ForCausalLM", "Gemma4TextConfig", GEMMA_4_TEXT, mergekit=False),
    Animal("phi2", "PhiForCausalLM", "PhiConfig", {**DECODER, **HALF_ROTARY}),
    Animal("phi3", "Phi3ForCausalLM", "Phi3Config", DECODER),
    Animal("cohere", "CohereForCausalLM", "CohereConfig", DECODER),
    Animal("cohere-plus", "CohereForCausalLM", "CohereConfig", {**DECODER, "use_qk_norm": True}),
    Animal("cohere2", "Cohere2ForCausalLM", "Cohere2Config", {**DECODER, **SLIDING}),
    Animal(
        "stablelm",
        "StableLmForCausalLM",
        "StableLmConfig",
        {**DECODER, **HALF_ROTARY, "use_qkv_bias": True},
    ),
    Animal(
        "stablelm-12b",
        "StableLmForCausalLM",
        "StableLmConfig",
        {**DECODER, **HALF_ROTARY, "qk_layernorm": True, "use_parallel_residual": True},
    ),
    Animal(
        "starcoder2", "Starcoder2ForCausalLM", "Starcoder2Config", {**DECODER, "sliding_window": 4}
    ),
    Animal(
        "granite",
        "GraniteForCausalLM",
        "GraniteConfig",
        {**DECODER, "attention_bias": True, "mlp_bias": True},
    ),
    Animal("arcee", "ArceeForCausalLM", "ArceeConfig", DECODER),
    Animal("apertus", "ApertusForCausalLM", "ApertusConfig", {**DECODER, **LLAMA_3_ROTARY}),
    Animal(
        "glm",
        "GlmForCausalLM",
        "GlmConfig",
        {**DECODER, **HALF_ROTARY, "head_dim": 4},
        mergekit=False,
    ),
    Animal("glm4", "Glm4ForCausalLM", "Glm4Config", {**DECODER, **HALF_ROTARY, "head_dim": 4}),
    Animal("olmo", "OlmoForCausalLM", "OlmoConfig", {**DECODER, "clip_qkv": 8.0}, mergekit=False),
    Animal("olmo2", "Olmo2ForCausalLM", "Olmo2Config", DECODER),
    Animal("olmo3", "Olmo3ForCausalLM", "Olmo3Config", {**DECODER, **SLIDING}, mergekit=False),
    Animal(
        "exaone4", "Exaone4ForCausalLM", "Exaone4Config", {**DECODER, **SLIDING}, mergekit=False
    ),
    Animal(
        "smollm3",
        "SmolLM3ForCausalLM",
        "SmolLM3Config",
        {**DECODER, "no_rope_layers": [1, 0]},
        mergekit=False,
    ),
    Animal(
        "ernie-4.5",
        "Ernie4_5ForCausalLM",
        "Ernie4_5Config",
        {**DECODER, "head_dim": 4, "use_bias": True},
        mergekit=False,
    ),
    Animal(
        "hunyuan",
        "HunYuanDenseV1ForCausalLM",
        "HunYuanDenseV1Config",
        {**DECODER, "head_dim": 4},
        mergekit=False,
    ),
    Animal(
        "seed-oss",
        "SeedOssForCausalLM",
        "SeedOssConfig",
        {**DECODER, "head_dim": 8},
        mergekit=False,
    ),
    Animal(
        "nemotron",
        "NemotronForCausalLM",
        "NemotronConfig",
        {**DECODER, **HALF_ROTARY},
        mergekit=False,
    ),
    Animal(
        "minicpm3",
        "MiniCPM3ForCausalLM",
        "MiniCPM3Config",
        {**ENCODER, **LATENT, "num_key_value_heads": 4},
        mergekit=False,
    ),
    Animal("jais2", "Jais2ForCausalLM", "Jais2Config", DECODER, mergekit=False),
    # Older decoders: fused projections, learned positions, biases.
    Animal("gpt2", "GPT2LMHeadModel", "GPT2Config", GPT),
    Animal(
        "gpt2-classifier", "GPT2ForSequenceClassification", "GPT2Config", {**GPT, "pad_token_id": 0}
    ),
    Animal(
        "gpt-neo",
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            **PADDED,
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 4,
            "window_size": 4,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 32,
        },
        mergekit=False,
    ),
    Animal("gpt-j", "GPTJForCausalLM", "GPTJConfig", {**GPT, "rotary_dim": 2}, mergekit=False),
    Animal("gpt-neox", "GPTNeoXForCausalLM", "GPTNeoXConfig", {**ENCODER, **HALF_ROTARY}),
    Animal("gpt-bigcode", "GPTBigCodeForCausalLM", "GPTBigCodeConfig", GPT),
    Animal(
        "gpt-bigcode-heads",
        "GPTBigCodeForCausalLM",
        "GPTBigCodeConfig",
        {**GPT, "multi_query": False},
    ),
    Animal(
        "codegen",
        "CodeGenForCausalLM",
        "CodeGenConfig",
        {**GPT, "n_ctx": 32, "rotary_dim": 2},
        mergekit=False,
    ),
    Animal(
        "opt",
        "OPTForCausalLM",
        "OPTConfig",
        {
            **PADDED,
            "hidden_size": 16,
            "ffn_dim": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
        },
        mergekit=False,
    ),
    Animal(
        "opt-350m",
        "OPTForCausalLM",
        "OPTConfig",
        {
            **PADDED,
            "hidden_size": 16,
            "ffn_dim": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "word_embed_proj_dim": 8,
            "do_layer_norm_before": False,
        },
        mergekit=False,
    ),
    Animal(
        "xglm",
        "XGLMForCausalLM",
        "XGLMConfig",
        {
            **PADDED,
            "d_model": 16,
            "ffn_dim": 24,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 32,
        },
        mergekit=False,
    ),
    Animal(
        "bloom",
        "BloomForCausalLM",
        "BloomConfig",
        {**PADDED, "hidden_size": 16, "n_layer": 2, "n_head": 4},
        mergekit=False,
    ),
    Animal(
        "mpt",
        "MptForCausalLM",
        "MptConfig",
        {**PADDED, "d_model": 16, "n_heads": 4, "n_layers": 2, "max_seq_len": 32},
        mergekit=False,
    ),
    Animal("biogpt", "BioGptForCausalLM", "BioGptConfig", ENCODER, mergekit=False),
    Animal(
        "falcon-7b",
        "FalconForCausalLM",
        "FalconConfig",
        {**PADDED, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    Animal(
        "falcon-40b",
        "FalconForCausalLM",
        "FalconConfig",
        {
            **PADDED,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
        },
    ),
    Animal(
        "falcon-rw",
        "FalconForCausalLM",
        "FalconConfig",
        {
            **PADDED,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "multi_query": False,
            "parallel_attn": False,
            "bias": True,
            "alibi": True,
        },
    ),
    # Mixtures of experts: in memory one tensor of all experts, in files often one of each.
    Animal("mixtral", "MixtralForCausalLM", "MixtralConfig", {**DECODER, **LOCAL_EXPERTS}),
    Animal(
        "qwen2-moe",
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {**DECODER, **EXPERTS, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 12},
        mergekit=False,
    ),
    Animal(
        "qwen3-moe",
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {**DECODER, **EXPERTS, "head_dim": 8, "moe_intermediate_size": 8},
    ),
    Animal("olmoe", "OlmoeForCausalLM", "OlmoeConfig", {**DECODER, **EXPERTS}, mergekit=False),
    Animal(
        "phimoe",
        "PhimoeForCausalLM",
        "PhimoeConfig",
        {**DECODER, **LOCAL_EXPERTS, "attention_bias": True, "lm_head_bias": True},
        mergekit=False,
    ),
    Animal(
        "dbrx",
        "DbrxForCausalLM",
        "DbrxConfig",
        {
            **PADDED,
            "d_model": 16,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 32,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 500000.0},
            "ffn_config": {
                "hidden_size": 16,
                "ffn_hidden_size": 24,
                "moe_num_experts": 4,
                "moe_top_k": 2,
            },
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
        },
        mergekit=False,
    ),
    Animal(
        "gpt-oss",
        "GptOssForCausalLM",
        "GptOssConfig",
        {
            **DECODER,
            **LOCAL_EXPERTS,
            **SLIDING,
            "head_dim": 4,
            "rope_parameters": {"rope_type": "default", "rope_theta": 150000.0},
        },
        mergekit=False,
    ),
    Animal("llama4", "Llama4ForCausalLM", "Llama4TextConfig", LLAMA_4_TEXT, mergekit=False),
    Animal(
        "granite-moe",
        "GraniteMoeForCausalLM",
        "GraniteMoeConfig",
        {**DECODER, **LOCAL_EXPERTS},
        mergekit=False,
    ),
    Animal(
        "ernie-4.5-moe",
        "Ernie4_5_MoeForCausalLM",
        "Ernie4_5_MoeConfig",
        {
            **DECODER,
            "moe_intermediate_size": 8,
            "moe_k": 2,
            "moe_num_experts": 4,
            "moe_num_shared_experts": 1,
        },
        mergekit=False,
    ),
    Animal(
        "deepseek-v3",
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        {
            **ENCODER,
            **LATENT,
            **ROUTED_EXPERTS,
            "num_key_value_heads": 4,
            "first_k_dense_replace": 1,
            "n_shared_experts": 1,
            "n_group": 2,
            "topk_group": 1,
        },
        mergekit=False,
    ),
    Animal(
        "glm4-moe",
        "Glm4MoeForCausalLM",
        "Glm4MoeConfig",
        {
            **DECODER,
            **HALF_ROTARY,
            **ROUTED_EXPERTS,
            "first_k_dense_replace": 1,
            "use_qk_norm": True,
        },
    ),
    Animal(
        "afmoe",
        "AfmoeForCausalLM",
        "AfmoeConfig",
        {
            **DECODER,
            **EXPERTS,
            **SLIDING,
            "head_dim": 4,
            "moe_intermediate_size": 8,
            "num_dense_layers": 1,
            "num_shared_experts": 1,
        },
    ),
    Animal(
        "lfm2-moe",
        "Lfm2MoeForCausalLM",
        "Lfm2MoeConfig",
        {
            **DECODER,
            **EXPERTS,
            "moe_intermediate_size": 8,
            "num_dense_layers": 1,
            "layer_types": ["conv", "full_attention"],
        },
        mergekit=False,
    ),
    # Recurrent models, alone or between layers of attention.
    Animal(
        "mamba",
        "MambaForCausalLM",
        "MambaConfig",
        {
            **PADDED,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "state_size": 4,
            "time_step_rank": 2,
            "use_bias": True,
        },
    ),
    Animal(
        "mamba2",
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {
            **PADDED,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_heads": 4,
            "head_dim": 8,
            "state_size": 4,
            "n_groups": 2,
            "chunk_size": 4,
        },
        mergekit=False,
    ),
    Animal(
        "rwkv",
        "RwkvForCausalLM",
        "RwkvConfig",
        {
            **IDS,
            "hidden_size": 16,
            "attention_hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "context_length": 32,
        },
        mergekit=False,
    ),
    Animal(
        "recurrent-gemma",
        "RecurrentGemmaForCausalLM",
        "RecurrentGemmaConfig",
        {
            **PADDED,
            **BLOCKS,
            "num_key_value_heads": 1,
            "lru_width": 16,
            "attention_window_size": 4,
            "block_types": ["recurrent", "attention"],
        },
        mergekit=False,
    ),
    Animal(
        "lfm2",
        "Lfm2ForCausalLM",
        "Lfm2Config",
        {**DECODER, "block_auto_adjust_ff_dim": False, "layer_types": ["conv", "full_attention"]},
    ),
    Animal(
        "granite-hybrid",
        "GraniteMoeHybridForCausalLM",
        "GraniteMoeHybridConfig",
        {
            **DECODER,
            **LOCAL_EXPERTS,
            **MAMBA,
            "shared_intermediate_size": 12,
            "layer_types": ["mamba", "attention"],
        },
    ),
    Animal(
        "granite-hybrid-dense",
        "GraniteMoeHybridForCausalLM",
        "GraniteMoeHybridConfig",
        {
            **DECODER,
            **MAMBA,
            **TIED,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "shared_intermediate_size": 24,
            "layer_types": ["mamba", "attention"],
            "position_embedding_type": "rope",
        },
    ),
    Animal(
        "jamba",
        "JambaForCausalLM",
        "JambaConfig",
        {
            **DECODER,
            **EXPERTS,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 4,
            "mamba_dt_rank": 2,
        },
        mergekit=False,
    ),
    Animal(
        "falcon-h1",
        "FalconH1ForCausalLM",
        "FalconH1Config",
        {**DECODER, **MAMBA, "mamba_d_ssm": 32, "mamba_rms_norm": True},
        mergekit=False,
    ),
    Animal(
        "nemotron-h",
        "NemotronHForCausalLM",
        "NemotronHConfig",
        {
            **PADDED,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 4,
            "max_position_embeddings": 32,
            "layers_block_type": ["mamba", "moe", "full_attention", "mlp"],
            "mamba_num_heads": 4,
            "mamba_head_dim": 8,
            "ssm_state_size": 4,
            "n_groups": 2,
            "chunk_size": 4,
            **ROUTED_EXPERTS,
            "moe_shared_expert_intermediate_size": 12,
        },
        mergekit=False,
    ),
    Animal(
        "qwen3-next",
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        {
            **DECODER,
            **EXPERTS,
            **DELTA_NET,
            **HALF_ROTARY,
            "moe_intermediate_size": 8,
            "shared_expert_intermediate_size": 12,
        },
        mergekit=False,
    ),
    Animal(
        "qwen3.5",
        "Qwen3_5ForCausalLM",
        "Qwen3_5TextConfig",
        {**DECODER, **DELTA_NET},
        mergekit=False,
    ),
    # Encoder and decoder: translation, and speech to text.
    Animal("t5", "T5ForConditionalGeneration", "T5Config", T5, "seq2seq"),
    Animal(
        "t5-v1.1",
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        "seq2seq",
    ),
    Animal("mt5", "MT5ForConditionalGeneration", "MT5Config", T5, "seq2seq", mergekit=False),
    Animal("umt5", "UMT5ForConditionalGeneration", "UMT5Config", T5, "seq2seq", mergekit=False),
    Animal(
        "bart", "BartForConditionalGeneration", "BartConfig", TRANSLATOR, "seq2seq", mergekit=False
    ),
    Animal(
        "mbart",
        "MBartForConditionalGeneration",
        "MBartConfig",
        TRANSLATOR,
        "seq2seq",
        mergekit=False,
    ),
    Animal(
        "m2m-100",
        "M2M100ForConditionalGeneration",
        "M2M100Config",
        TRANSLATOR,
        "seq2seq",
        mergekit=False,
    ),
    # With more than two experts: transformers 5.23 runs the first two only.
    Animal(
        "nllb-moe",
        "NllbMoeForConditionalGeneration",
        "NllbMoeConfig",
        {**TRANSLATOR, "num_experts": 2, "encoder_sparse_step": 2, "decoder_sparse_step": 2},
        "seq2seq",
        mergekit=False,
    ),
    Animal("marian", "MarianMTModel", "MarianConfig", TRANSLATOR, "seq2seq", mergekit=False),
    Animal(
        "whisper",
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            **SEQ2SEQ,
            "num_mel_bins": 8,
            "max_source_positions": 8,
            "max_target_positions": 16,
            "begin_suppress_tokens": None,
        },
        "speech",
    ),
    # Pictures and text: the language model is one part of several. Here only it is run.
    Animal(
        "gemma3-vision",
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        {
            "text_config": {**DECODER, **SLIDING, "head_dim": 8},
            "vision_config": {**SIGLIP, "vision_use_head": False},
            "mm_tokens_per_image": 1,
            "boi_token_index": 61,
            "eoi_token_index": 62,
            "image_token_index": 60,
        },
    ),
    Animal(
        "gemma4-vision",
        "Gemma4ForConditionalGeneration",
        "Gemma4Config",
        {
            "text_config": GEMMA_4_TEXT,
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 8,
                "patch_size": 4,
                "position_embedding_size": 8,
                "pooling_kernel_size": 1,
            },
            "image_token_id": 60,
            "boi_token_id": 61,
            "eoi_token_id": 62,
            "video_token_id": 63,
            "audio_token_id": 59,
            "boa_token_id": 58,
            "eoa_token_index": 57,
        },
        mergekit=False,
    ),
    Animal(
        "llama4-vision",
        "Llama4ForConditionalGeneration",
        "Llama4Config",
        {
            "text_config": LLAMA_4_TEXT,
            "vision_config": {
                **EYE,
                "intermediate_size": 64,
                "vision_output_dim": 16,
                "projector_input_dim": 16,
                "projector_output_dim": 16,
            },
            "boi_token_index": 61,
            "eoi_token_index": 62,
            "image_token_index": 60,
        },
    ),
    Animal(
        "mistral3-vision",
        "Mistral3ForConditionalGeneration",
        "Mistral3Config",
        {
            "text_config": {**DECODER, "model_type": "mistral"},
            "vision_config": {**EYE, "model_type": "pixtral"},
            "image_token_index": 60,
            "tie_word_embeddings": False,
        },
    ),
    Animal(
        "llava",
        "LlavaForConditionalGeneration",
        "LlavaConfig",
        {
            "text_config": {**DECODER, "model_type": "llama"},
            "vision_config": {**EYE, "model_type": "clip_vision_model"},
            "vision_feature_layer": -1,
            "image_token_index": 60,
            "image_seq_length": 4,
        },
        mergekit=False,
    ),
    Animal(
        "aya-vision",
        "AyaVisionForConditionalGeneration",
        "AyaVisionConfig",
        {
            "text_config": {**DECODER, **SLIDING, "model_type": "cohere2"},
            "vision_config": SIGLIP,
            "image_token_index": 60,
        },
        mergekit=False,
    ),
    Animal(
        "qwen2-vl",
        "Qwen2VLForConditionalGeneration",
        "Qwen2VLConfig",
        {
            "text_config": QWEN_TEXT,
            "vision_config": {**QWEN_EYE, "embed_dim": 16, "hidden_size": 16},
            **QWEN_SIGNS,
        },
    ),
    Animal(
        "qwen2.5-vl",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2_5_VLConfig",
        {
            "text_config": QWEN_TEXT,
            "vision_config": {**QWEN_EYE_OUT, "window_size": 16, "fullatt_block_indexes": [0]},
            **QWEN_SIGNS,
        },
    ),
    Animal(
        "qwen3-vl",
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLConfig",
        {
            "text_config": {**QWEN_TEXT, "head_dim": 8},
            "vision_config": {**QWEN_EYE_GRID, "deepstack_visual_indexes": [0]},
            **QWEN_SIGNS,
        },
    ),
    Animal(
        "qwen3-vl-moe",
        "Qwen3VLMoeForConditionalGeneration",
        "Qwen3VLMoeConfig",
        {
            "text_config": {**QWEN_TEXT, **EXPERTS, "head_dim": 8, "moe_intermediate_size": 8},
            "vision_config": {**QWEN_EYE_GRID, "deepstack_visual_indexes": [0]},
            **QWEN_SIGNS,
        },
    ),
    Animal(
        "qwen3.5-vision",
        "Qwen3_5ForConditionalGeneration",
        "Qwen3_5Config",
        {"text_config": {**DECODER, **DELTA_NET}, "vision_config": QWEN_EYE_GRID, **QWEN_SIGNS},
        mergekit=False,
    ),
    # Encoders, and heads that sort sentences or words.
    Animal("llama-classifier", "LlamaForSequenceClassification", "LlamaConfig", DECODER),
    Animal("bert", "BertForMaskedLM", "BertConfig", ENCODER),
    Animal("bert-encoder", "BertModel", "BertConfig", ENCODER),
    Animal("bert-classifier", "BertForSequenceClassification", "BertConfig", ENCODER),
    Animal("bert-choice", "BertForMultipleChoice", "BertConfig", ENCODER),
    Animal("bert-tagger", "BertForTokenClassification", "BertConfig", ENCODER),
    Animal("distilbert", "DistilBertForMaskedLM", "DistilBertConfig", DISTILBERT),
    Animal("distilbert-encoder", "DistilBertModel", "DistilBertConfig", DISTILBERT),
    Animal(
        "distilbert-classifier",
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        DISTILBERT,
    ),
    Animal("distilbert-tagger", "DistilBertForTokenClassification", "DistilBertConfig", DISTILBERT),
    Animal("roberta", "RobertaForMaskedLM", "RobertaConfig", ENCODER),
    Animal("roberta-encoder", "RobertaModel", "RobertaConfig", ENCODER),
    Animal("roberta-classifier", "RobertaForSequenceClassification", "RobertaConfig", ENCODER),
    Animal("roberta-tagger", "RobertaForTokenClassification", "RobertaConfig", ENCODER),
    Animal("xlm-roberta", "XLMRobertaForMaskedLM", "XLMRobertaConfig", ENCODER, mergekit=False),
    Animal(
        "xlm-roberta-classifier",
        "XLMRobertaForSequenceClassification",
        "XLMRobertaConfig",
        ENCODER,
        mergekit=False,
    ),
    Animal(
        "xlm-roberta-tagger",
        "XLMRobertaForTokenClassification",
        "XLMRobertaConfig",
        ENCODER,
        mergekit=False,
    ),
    Animal(
        "albert",
        "AlbertForMaskedLM",
        "AlbertConfig",
        {**ENCODER, "embedding_size": 8},
        mergekit=False,
    ),
    Animal(
        "deberta-v3",
        "DebertaV2ForMaskedLM",
        "DebertaV2Config",
        {
            **ENCODER,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
        },
        mergekit=False,
    ),
    Animal(
        "modernbert",
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        {
            **ENCODER,
            "local_attention": 4,
            "layer_types": ["full_attention", "sliding_attention"],
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
        mergekit=False,
    ),
)

# Architectures that mergekit 0.1.5 knows or people may look for, and why none of them is above.
REMOTE = "its code is in the folders of its models, not in transformers"
NOT_HERE: Mapping[str, str] = {
    "BaichuanForCausalLM": REMOTE,
    "ChatGLMModel": REMOTE,
    "ExaoneForCausalLM": REMOTE,
    "Gemma3nForConditionalGeneration": "its vision tower is made by timm, which the tests lack",
    "InternLM2ForCausalLM": REMOTE,
    "JAISLMHeadModel": REMOTE,
    "LLaMaForCausalLM": "an early spelling of LlamaForCausalLM, without a class",
    "MixFormerSequentialForCausalLM": REMOTE,
    "Phi3SmallForCausalLM": REMOTE,
    "QWenLMHeadModel": REMOTE,
    "SolarForCausalLM": REMOTE,
    "StableLMEpochForCausalLM": REMOTE,
    "_AfmoePartialForCausalLM": "mergekit's own part of AfmoeForCausalLM, not a model",
}


def make(animal: Animal, seed: int = 0) -> PreTrainedModel:
    """Return the animal's model; every number that a checkpoint holds is random."""
    config = getattr(transformers, animal.config)(**copy.deepcopy(dict(animal.settings)))
    model = getattr(transformers, animal.kind)(config).eval()
    chance = torch.Generator().manual_seed(seed)
    for weight in _weights(model):
        weight.copy_(torch.randn(weight.shape, generator=chance) / 2)
    return model


def moved(model: PreTrainedModel, amount: float, seed: int) -> PreTrainedModel:
    """Return a copy with noise of that size on every number that a checkpoint holds."""
    copied = copy.deepcopy(model)
    chance = torch.Generator().manual_seed(-1 - seed)  # not what `make` drew for the same seed
    for weight in _weights(copied):
        weight.add_(torch.randn(weight.shape, generator=chance) * amount)
    return copied


@torch.no_grad()
def logits(animal: Animal, model: PreTrainedModel) -> torch.Tensor:
    """Return what the model answers to the animal's fixed inputs; an encoder's last states."""
    # A copy: the same numbers at other addresses may be summed in another order.
    model = copy.deepcopy(model).eval()
    inputs = {
        name: value.to(model.dtype) if value.is_floating_point() else value
        for name, value in INPUTS[animal.inputs].items()
    }
    return model(**inputs)[0]


def _weights(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return every floating parameter and saved buffer, a shared one once.

    A saved buffer is one that is learnt, as the bias of a router: a computed one is not saved.
    """
    computed = model._keys_to_ignore_on_save or ()  # noqa: SLF001 - Marian's positions
    held = {
        id(tensor): tensor.detach()
        for name, tensor in model.state_dict(keep_vars=True).items()
        if tensor.is_floating_point() and name not in computed
    }
    return list(held.values())
