"""The tensors of the plain decoders that most people merge, without importing transformers.

Importing transformers' models takes seconds, and `plan` should answer at once. So this module
lists names and shapes for Llama, Mistral, Qwen2, Qwen3, Gemma and Gemma 2. A test compares them
with transformers. If a model differs in anything, `loading.Skeleton` is used instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.models.header import Header, is_computed
from slack_ties.tensors.origin import Origin, Proof

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["EMBEDDING", "HEAD", "PlainModel", "plain_model"]

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

KINDS = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
}

TIED_BY_DEFAULT = ("gemma", "gemma2")

NORMS = ("input_layernorm", "post_attention_layernorm")

MORE_NORMS = ("pre_feedforward_layernorm", "post_feedforward_layernorm")  # of Gemma 2

# Other keys that transformers reads in such a config. With a value of another type the model is
# not treated as plain: transformers then decides about it.
FRACTIONS = (
    *("rms_norm_eps", "rope_theta", "initializer_range", "attention_dropout"),
    *("final_logit_softcapping", "attn_logit_softcapping"),
)

COUNTS = (
    *("max_position_embeddings", "pretraining_tp", "sliding_window", "max_window_layers"),
    "query_pre_attn_scalar",
    *("num_key_value_heads", "head_dim", "bos_token_id", "eos_token_id", "pad_token_id"),
)

SWITCHES = ("use_cache", "attention_bias", "mlp_bias", "use_sliding_window", "tie_word_embeddings")

ACTIVATIONS = ("silu", "gelu", "relu", "gelu_new", "gelu_pytorch_tanh")

DTYPES = ("float16", "bfloat16", "float32")

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True)
class PlainModel:
    """A model with exactly the tensors that its config requires, under transformers' names."""

    state: Mapping[str, tuple[int, ...]]
    ties: bool
    parameters: frozenset[str] = field(default_factory=frozenset)

    @property
    def tied(self) -> tuple[frozenset[str], ...]:
        """Groups of names that the config ties to one tensor."""
        return (frozenset({EMBEDDING, HEAD}),) if self.ties else ()

    @property
    def vocabulary(self) -> frozenset[str]:
        """The names of tensors whose rows are tokens."""
        return frozenset({EMBEDDING, HEAD})

    @property
    def heads(self) -> frozenset[str]:
        """The matrix that predicts the next token."""
        return frozenset({HEAD})

    def prove(self, _: Mapping[str, Header]) -> Proof:
        """Return a proof without problems: `plain_model` has compared every name and shape."""
        return Proof()

    def origins(self, names: Collection[str]) -> dict[str, Origin]:
        """Return each tensor of the checkpoint as its own origin."""
        return {name: Origin(name) for name in names if name in self.state}


def plain_model(config: Mapping[str, Any], headers: Mapping[str, Header]) -> PlainModel | None:
    """Return the plain decoder if a model's tensors are exactly those of one, else None."""
    kind = (config.get("architectures") or [""])[0]
    if KINDS.get(str(kind), "") != config.get("model_type"):
        return None
    if not _is_usual(config):
        return None
    ties = config.get("tie_word_embeddings", config["model_type"] in TIED_BY_DEFAULT)
    state = _state(config) if isinstance(ties, bool) else None
    if state is None:
        return None
    found = {name: header for name, header in headers.items() if not is_computed(name, header)}
    optional = {HEAD} if ties else set()
    if not (set(state) - optional <= set(found) <= set(state)):
        return None
    if any(header.shape != state[name] for name, header in found.items()):
        return None
    return PlainModel(state, ties, frozenset(state))


def _is_usual(config: Mapping[str, Any]) -> bool:
    """Say whether every value that transformers reads has the usual type."""
    ids = config.get("eos_token_id")  # may be a list of them
    if isinstance(ids, list) and ids and all(type(one) is int for one in ids):
        return _is_usual({**config, "eos_token_id": ids[0]})
    fractions = [config[key] for key in FRACTIONS if config.get(key) is not None]
    counts = [config[key] for key in (*SIZES, *COUNTS) if config.get(key) is not None]
    plain = all(type(one) is float and one >= 0 for one in fractions)
    plain = plain and all(type(one) is int and one >= 0 for one in counts)
    rope = [config.get(key) or {} for key in ("rope_scaling", "rope_parameters")]
    return (
        plain
        and all(type(config.get(key, True)) is bool for key in SWITCHES)
        and all(config.get(k) in (None, *ACTIVATIONS) for k in ("hidden_act", "hidden_activation"))
        and all(config.get(key) in (None, *DTYPES) for key in ("dtype", "torch_dtype"))
        and all(isinstance(one, dict) and not _is_odd(one) for one in rope)
        and isinstance(config.get("layer_types", []), list)
        and not config.get("transformers_weights")
    )


def _is_odd(rope: Mapping[str, Any]) -> bool:
    return any(type(value) not in {int, float, str, bool, type(None)} for value in rope.values())


def _state(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Return the shape of every tensor, or None if the config leaves a size to a default."""
    kind = config["model_type"]
    sizes = [config.get(key) for key in (*SIZES, "vocab_size")]
    heads = config.get("num_key_value_heads")
    width = config.get("head_dim")
    if kind == "llama" and heads is None:
        heads = config.get("num_attention_heads")
    if not all(isinstance(size, int) and size > 0 for size in (*sizes, heads)):
        return None
    hidden, inner, layers, queries, rows = (int(str(size)) for size in sizes)
    if width is None and kind in {"llama", "mistral", "qwen2"}:
        width = hidden // queries
    if not isinstance(width, int):
        return None
    q, kv = queries * width, int(str(heads)) * width
    state: dict[str, tuple[int, ...]] = {EMBEDDING: (rows, hidden)}
    matrices = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    biased = _biased(config)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, shape in matrices.items():
            state[f"{prefix}{name}.weight"] = shape
            if name.rpartition(".")[2] in biased:
                state[f"{prefix}{name}.bias"] = shape[:1]
        if kind == "qwen3":
            state |= {f"{prefix}self_attn.{name}_norm.weight": (width,) for name in "qk"}
        for name in (*NORMS, *(MORE_NORMS if kind == "gemma2" else ())):
            state[f"{prefix}{name}.weight"] = (hidden,)
    state["model.norm.weight"] = (hidden,)
    state[HEAD] = (rows, hidden)
    return state


def _biased(config: Mapping[str, Any]) -> set[str]:
    kind = config["model_type"]
    found = {"q_proj", "k_proj", "v_proj"} if kind == "qwen2" else set()
    if kind in {"llama", "qwen3", *TIED_BY_DEFAULT} and config.get("attention_bias"):
        found |= {"q_proj", "k_proj", "v_proj", "o_proj"}
    if kind == "llama" and config.get("mlp_bias"):
        found |= {"gate_proj", "up_proj", "down_proj"}
    return found
