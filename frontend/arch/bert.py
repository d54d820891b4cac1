"""BERT: an encoder with learned positions and segments, layer norms after each sum, GELU without a gate.  arXiv:1810.04805."""

from dataclasses import replace

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import ALWAYS, Architecture, Names, biases
from llmc.frontend.classifier import Classifier
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import GELUS, Dialect
from llmc.frontend.encoder import attention_both
from llmc.frontend.layers import Step, mlp, norm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

PREFIX = "bert."
HEADS = (r"(bert\.)?pooler\..*", r"cls\..*", r".*position_ids", r"lm_head\..*")


def names(prefix: str) -> dict[str, tuple[str, str]]:
    """A block's tensors."""
    layer = prefix + "encoder.layer.{i}."
    return {
        "attn.q": ("blk.{i}.attn_q.weight", f"{layer}attention.self.query.weight"),
        "attn.k": ("blk.{i}.attn_k.weight", f"{layer}attention.self.key.weight"),
        "attn.v": ("blk.{i}.attn_v.weight", f"{layer}attention.self.value.weight"),
        "attn.out": ("blk.{i}.attn_output.weight", f"{layer}attention.output.dense.weight"),
        "attn.post_norm": ("blk.{i}.attn_output_norm.weight", f"{layer}attention.output.LayerNorm.weight"),
        "ffn.up": ("blk.{i}.ffn_up.weight", f"{layer}intermediate.dense.weight"),
        "ffn.down": ("blk.{i}.ffn_down.weight", f"{layer}output.dense.weight"),
        "ffn.post_norm": ("blk.{i}.layer_output_norm.weight", f"{layer}output.LayerNorm.weight"),
    }


def model(prefix: str) -> Names:
    """The tensors outside of blocks."""
    return {
        "embedding": ("token_embd.weight", f"{prefix}embeddings.word_embeddings.weight"),
        "positions": ("position_embd.weight", f"{prefix}embeddings.position_embeddings.weight"),
        "segments": ("token_types.weight", f"{prefix}embeddings.token_type_embeddings.weight"),
        "embedding.norm": ("token_embd_norm.weight", f"{prefix}embeddings.LayerNorm.weight"),
        "embedding.norm.bias": ("token_embd_norm.bias", f"{prefix}embeddings.LayerNorm.bias"),
        "norm": "", "norm.bias": "", "head": "",
    }  # fmt: skip


def classifier(prefix: str) -> Classifier:
    """What the pooler makes of the first token, and scores of that."""
    return Classifier({"cls.dense": f"{prefix}pooler.dense.weight", "cls.out": "classifier.weight"})


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = norm(s, s.emit("add", x, attention_both(s, x, w), name="x"), w, "attn.post_norm")
    function = s.config.activation or "gelu_erf"
    return norm(s, s.emit("add", x, mlp(s, x, w, function), name="x"), w, "ffn.post_norm")


def adapt(config: Config, keys: Keys) -> Config:
    """Nothing rotates."""
    kind = "absolute" if keys.gguf else keys.checkpoint.string("position_embedding_type", "absolute")
    if kind != "absolute" or (not keys.gguf and keys.checkpoint.flag("is_decoder", False)):
        what = f"{keys.checkpoint.key_file}: {keys.checkpoint.architecture}"
        raise UnsupportedModelError(f"{what} is compiled as an encoder with absolute positions alone")
    return replace(config, rope_dims=0)


BERT = Architecture(
    gguf="bert",
    papers="arXiv:1810.04805",
    weights={**names(PREFIX), **biases(*names(PREFIX), of=names(PREFIX))},
    rope="half",
    block=block,
    hf=("BertModel", "BertForMaskedLM"),
    hf_biases={ALWAYS: (*names(PREFIX), "embedding.norm")},
    hf_prefix=PREFIX,
    dialect=Dialect(activations=("gelu", *GELUS)),
    norm="layer_norm",
    model=model(PREFIX),
    encoder=True,
    classifiers={"BertForSequenceClassification": classifier(PREFIX)},
    unused=HEADS,
    adapt=adapt,
)
