"""Jina embeddings 3: XLM-RoBERTa with rotation in the place of learned positions.  arXiv:2409.10173."""

from llmc.frontend.arch import ALWAYS, Architecture, biases
from llmc.frontend.arch.nomic_bert import model
from llmc.frontend.classifier import Classifier
from llmc.frontend.dialect import GELUS, Dialect
from llmc.frontend.encoder import attention_both
from llmc.frontend.layers import Step, mlp, norm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

PREFIX = "roberta."
LAYER = PREFIX + "encoder.layers.{i}."
NAMES = {
    "attn.qkv": ("blk.{i}.attn_qkv.weight", f"{LAYER}mixer.Wqkv.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", f"{LAYER}mixer.out_proj.weight"),
    "attn.post_norm": ("blk.{i}.attn_output_norm.weight", f"{LAYER}norm1.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", f"{LAYER}mlp.fc1.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", f"{LAYER}mlp.fc2.weight"),
    "ffn.post_norm": ("blk.{i}.layer_output_norm.weight", f"{LAYER}norm2.weight"),
}


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = norm(s, s.emit("add", x, attention_both(s, x, w, table=s.rope_table), name="x"), w, "attn.post_norm")
    return norm(s, s.emit("add", x, mlp(s, x, w, s.config.activation or "gelu_erf"), name="x"), w, "ffn.post_norm")


JINA_BERT_V3 = Architecture(
    gguf="jina-bert-v3",
    papers="arXiv:2409.10173",
    weights={**NAMES, **biases(*NAMES, of=NAMES)},
    rope="half",
    block=block,
    hf=("JinaEmbeddingsV3Model", "JinaEmbeddingsV3ForMaskedLM"),
    hf_biases={ALWAYS: (*NAMES, "embedding.norm")},
    hf_prefix=PREFIX,
    dialect=Dialect(activations=("gelu", *GELUS), rope_base=20000.0),
    norm="layer_norm",
    model=model(PREFIX),
    encoder=True,
    classifiers={
        "JinaEmbeddingsV3ForSequenceClassification": Classifier(
            {"cls.dense": "classifier.dense.weight", "cls.out": "classifier.out_proj.weight"}
        )
    },
    unused=(r"(roberta\.)?pooler\..*", r"lm_head\..*"),
)
