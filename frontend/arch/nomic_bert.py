"""Nomic BERT: BERT with rotation in the place of learned positions, SwiGLU, and biases of norms alone.  arXiv:2402.01613."""

from llmc.frontend.arch import ALWAYS, Architecture, biases
from llmc.frontend.arch.bert import classifier
from llmc.frontend.dialect import Dialect
from llmc.frontend.encoder import attention_both
from llmc.frontend.layers import Step, norm, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

PREFIX = "nomic_bert."
LAYER = PREFIX + "encoder.layers.{i}."
NAMES = {
    "attn.qkv": ("blk.{i}.attn_qkv.weight", f"{LAYER}attn.Wqkv.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", f"{LAYER}attn.out_proj.weight"),
    "attn.post_norm": ("blk.{i}.attn_output_norm.weight", f"{LAYER}norm1.weight"),
    "ffn.gate": ("blk.{i}.ffn_gate.weight", f"{LAYER}mlp.fc12.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", f"{LAYER}mlp.fc11.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", f"{LAYER}mlp.fc2.weight"),
    "ffn.post_norm": ("blk.{i}.layer_output_norm.weight", f"{LAYER}norm2.weight"),
}
NORMS = ("attn.post_norm", "ffn.post_norm")


def model(prefix: str) -> dict[str, str | tuple[str, str]]:
    """The tensors outside of blocks."""
    return {
        "embedding": ("token_embd.weight", f"{prefix}embeddings.word_embeddings.weight"),
        "segments": ("token_types.weight", f"{prefix}embeddings.token_type_embeddings.weight"),
        "embedding.norm": ("token_embd_norm.weight", f"{prefix}emb_ln.weight"),
        "embedding.norm.bias": ("token_embd_norm.bias", f"{prefix}emb_ln.bias"),
        "norm": "", "norm.bias": "", "head": "",
    }  # fmt: skip


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = norm(s, s.emit("add", x, attention_both(s, x, w, table=s.rope_table), name="x"), w, "attn.post_norm")
    return norm(s, s.emit("add", x, swiglu(s, x, w), name="x"), w, "ffn.post_norm")


NOMIC_BERT = Architecture(
    gguf="nomic-bert",
    papers="arXiv:2402.01613",
    weights={**NAMES, **biases(*NORMS, of=NAMES)},
    rope="half",
    block=block,
    hf=("NomicBertModel", "NomicBertForMaskedLM"),
    hf_biases={ALWAYS: (*NORMS, "embedding.norm")},
    hf_prefix=PREFIX,
    dialect=Dialect(rope_base=1000.0),
    norm="layer_norm",
    model=model(PREFIX),
    encoder=True,
    classifiers={"NomicBertForSequenceClassification": classifier(PREFIX)},
    unused=(r"(nomic_bert\.)?pooler\..*", r"cls\..*"),
)
