"""RoBERTa, XLM-RoBERTa and CamemBERT: BERT, with positions counted from the one after the padding token's id.

Their GGUF files are BERT's (bert.py): the rows of the table of positions that no text uses have been cut off.
arXiv:1907.11692, arXiv:1911.02116, arXiv:1911.03894.
"""

from collections.abc import Mapping
from dataclasses import replace

from llmc.errors import MalformedFileError
from llmc.frontend.arch import ALWAYS, Architecture, biases
from llmc.frontend.arch.bert import adapt as adapt_bert
from llmc.frontend.arch.bert import block, model, names
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.classifier import Classifier
from llmc.frontend.config import MAX_DIM, Config, Keys
from llmc.frontend.dialect import GELUS, Dialect
from llmc.frontend.views import view

PREFIX = "roberta."
PADDING = 1  # where config.json does not say
FAMILIES = ("Roberta", "XLMRoberta", "Camembert")
HEAD = Classifier({"cls.dense": "classifier.dense.weight", "cls.out": "classifier.out_proj.weight"})


def first_position(checkpoint: Checkpoint) -> int:
    """The position of a text's first token."""
    return 1 + checkpoint.integer("pad_token_id", 0, MAX_DIM, PADDING)


def adapt(config: Config, keys: Keys) -> Config:
    """The table of positions has rows that no text uses."""
    context = config.context - first_position(keys.checkpoint)
    if context < 1:
        raise MalformedFileError(f"{keys.name('context')} is {config.context}: pad_token_id leaves no position to a text")
    return replace(adapt_bert(config, keys), context=context)


def views(checkpoint: Checkpoint, config: Config) -> Mapping[str, Derived]:
    """The positions from the first on."""
    name = ROBERTA.names(checkpoint)["positions"]
    table = checkpoint.tensors.get(name)
    if table is None or len(table.shape) != 2:
        return {}
    return {name: view(table, name, rows=slice(first_position(checkpoint), None), flat=True)}


ROBERTA = Architecture(
    gguf="",
    papers="arXiv:1907.11692, arXiv:1911.02116, arXiv:1911.03894",
    weights={**names(PREFIX), **biases(*names(PREFIX), of=names(PREFIX))},
    rope="half",
    block=block,
    hf=tuple(family + head for family in FAMILIES for head in ("Model", "ForMaskedLM")),
    hf_biases={ALWAYS: (*names(PREFIX), "embedding.norm")},
    hf_prefix=PREFIX,
    dialect=Dialect(activations=("gelu", *GELUS)),
    norm="layer_norm",
    model=model(PREFIX),
    encoder=True,
    classifiers={f"{family}ForSequenceClassification": HEAD for family in FAMILIES},
    unused=(r"(roberta\.)?pooler\..*", r".*position_ids", r"lm_head\..*"),
    views=views,
    adapt=adapt,
)
