"""DeepSeek V2, V2 Lite, V3 and R1, and what is shaped like them: latents in attention, experts beside a network of all tokens.

arXiv:2405.04434, arXiv:2412.19437. V3 chooses by sigmoids and a bias, V2 by a softmax.
"""

from dataclasses import replace

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import CHOICE_BIAS, DECODER, EXPERTS, Architecture, shared_experts
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys, Experts
from llmc.frontend.latent import MLA, OPTIONAL, latent_views
from llmc.frontend.layers import Step, feed_forward, norm, residual
from llmc.frontend.layers_latent import latent_attention
from llmc.frontend.rope import yarn_mscale
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

V2, V3 = "DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"
LATENT_EPS = 1e-6  # of the norms inside attention, whatever the file says of others
OUTSIDE = {name: DECODER[name] for name in DECODER if name not in ("attn.q", "attn.k", "attn.v")}
KEYS = ExpertKeys(
    (V2, V3),
    shared_count="n_shared_experts",
    scale="routed_scaling_factor",
    groups=("n_group", "topk_group"),
    leading="first_k_dense_replace",
)


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]. In GGUF files V2 does not say that the weights of experts keep their sum."""
    x = residual(s, x, latent_attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w, normalize=False))


def adapt(config: Config, keys: Keys) -> Config:
    """The scale of longer contexts is the scores' too, and routing the version's own."""
    config = replace(config, attention_scale=config.attention_scale * _mscale(config, keys) ** 2)
    if keys.gguf or config.latent is None:
        return config
    config = replace(config, latent=replace(config.latent, norm_eps=LATENT_EPS))
    if config.experts is None:
        return config
    if keys.checkpoint.architecture == V2:
        return replace(config, experts=_second(config, keys))
    normalize = keys.checkpoint.flag("norm_topk_prob", True)
    return replace(config, experts=replace(config.experts, gate="sigmoid", normalize=normalize))


def _second(config: Config, keys: Keys) -> Experts:
    """The experts of V2: a group is as good as its best expert, where there are groups."""
    method = keys.checkpoint.string("topk_method", "greedy")
    if method not in ("greedy", "group_limited_greedy"):
        raise UnsupportedModelError(f"{keys.checkpoint.key_file}: topk_method is {method!r:.40}; llmc compiles two of V2")
    e = config.experts
    assert e is not None
    groups = replace(e.groups, best=1) if e.groups and method == "group_limited_greedy" else None
    return replace(e, groups=groups, normalize=False)


def _mscale(config: Config, keys: Keys) -> float:
    """What YaRN multiplies queries and keys by: 0.1 * weight * ln(factor) + 1."""
    if config.rope_scaling.kind != "yarn":
        return 1.0
    if keys.gguf:
        weight = 10 * keys.number("rope.scaling.yarn_log_multiplier", low=0.0, high=1e3, default=0.0)
    else:
        prefix = next((p for p in ("rope_parameters.", "rope_scaling.") if f"{p}factor" in keys.checkpoint.keys), "")
        weight = keys.checkpoint.number(f"{prefix}mscale_all_dim", 0.0, low=0.0, high=1e3)
    return float(yarn_mscale(config.rope_scaling.factor, weight)) if config.rope_scaling.factor > 1 else 1.0


def views(checkpoint: Checkpoint, config: Config) -> dict[str, Derived]:
    """Queries and the matrix of keys and values in parts."""
    assert config.latent is not None
    return latent_views(checkpoint, config.latent, config.heads, config.layers)


DEEPSEEK2 = Architecture(
    gguf="deepseek2",
    papers="arXiv:2405.04434, arXiv:2412.19437",
    weights={**OUTSIDE, **MLA, "attn.out.bias": ("", "model.layers.{i}.self_attn.o_proj.bias")},
    rope="interleaved",
    block=block,
    hf=(V2, V3),
    hf_rope="interleaved",
    hf_biases={"attention_bias": ("attn.q_a", "attn.kv_a", "attn.out")},
    dialect=Dialect(latent=True, experts=KEYS),
    experts={**EXPERTS, **CHOICE_BIAS, **shared_experts("shared_experts")},
    optional=(*OPTIONAL, *CHOICE_BIAS),
    views=views,
    adapt=adapt,
)
