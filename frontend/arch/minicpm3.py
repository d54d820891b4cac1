"""MiniCPM 3: latents in attention, a dense feed-forward block, factors on embedding, branches and logits.

https://huggingface.co/docs/transformers/model_doc/minicpm3. GGUF files leave the factors to the engine.
"""

from dataclasses import replace
from decimal import Decimal, localcontext

from llmc.frontend.arch import Architecture, without
from llmc.frontend.arch.deepseek2 import LATENT_EPS, views
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.latent import MLA, OPTIONAL
from llmc.frontend.layers import Step, norm, residual, swiglu
from llmc.frontend.layers_latent import latent_attention
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

EMBEDDING, DEPTH, BASE = 12.0, 1.4, 256.0  # of the one released model


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, latent_attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, swiglu(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    """Embeddings times scale_emb, branches times scale_depth / sqrt(layers), logits times dim_model_base / hidden."""
    embedding, depth, base = EMBEDDING, DEPTH, BASE
    if not keys.gguf:
        c = keys.checkpoint
        embedding = c.number("scale_emb", EMBEDDING, low=1e-6, high=1e6)
        depth = c.number("scale_depth", DEPTH, low=1e-6, high=1e6)
        base = c.number("dim_model_base", BASE, low=1.0, high=1e6)
        assert config.latent is not None
        config = replace(config, latent=replace(config.latent, norm_eps=LATENT_EPS))
    with localcontext(prec=40):
        branch = float(Decimal(depth) / Decimal(config.layers).sqrt())
    return replace(config, embedding_scale=embedding, residual_scale=branch, logit_scale=config.hidden / base)


MINICPM3 = Architecture(
    gguf="minicpm3",
    papers="transformers documentation, model_doc/minicpm3",
    weights={**without("attn.q", "attn.k", "attn.v"), **MLA, "attn.out.bias": ("", "model.layers.{i}.self_attn.o_proj.bias")},
    rope="half",
    block=block,
    hf=("MiniCPM3ForCausalLM",),
    hf_biases={"attention_bias": ("attn.q_a", "attn.kv_a", "attn.out")},
    dialect=Dialect(latent=True, tied=True),
    optional=OPTIONAL,
    views=views,
    adapt=adapt,
)
