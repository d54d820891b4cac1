"""EuroBERT: an encoder made like Llama: RMS norms before each block, grouped queries, rotation, SwiGLU.  arXiv:2503.05500."""

from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, Architecture, biases
from llmc.frontend.classifier import Classifier
from llmc.frontend.encoder import attention_both
from llmc.frontend.layers import Step, residual, rms_norm, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

HEAD = Classifier(
    {"cls.dense": "dense.weight", "cls.out": "classifier.weight"}, function="gelu_erf",
    poolings={"late": "late", "bos": "cls", "mean": "mean"},
)  # fmt: skip


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    normed = rms_norm(s, x, w.vector("attn.norm", s.config.hidden), "attn.norm")
    x = residual(s, x, attention_both(s, normed, w, table=s.rope_table))
    return residual(s, x, swiglu(s, rms_norm(s, x, w.vector("ffn.norm", s.config.hidden), "ffn.norm"), w))


EUROBERT = Architecture(
    gguf="eurobert",
    papers="arXiv:2503.05500",
    weights={**DECODER, **biases(*ATTENTION, *FEED_FORWARD)},
    rope="half",
    block=block,
    hf=("EuroBertModel", "EuroBertForMaskedLM"),
    hf_biases={"attention_bias": ATTENTION, "mlp_bias": FEED_FORWARD},
    hf_prefix="model.",
    model={"head": ""},
    encoder=True,
    classifiers={"EuroBertForSequenceClassification": HEAD},
    unused=(r"lm_head\..*",),
)
