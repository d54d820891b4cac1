"""BF16: the upper 16 bits of an IEEE 754 32-bit number per weight."""

from llmc.ir.quant import DenseFormat

BF16 = DenseFormat(name="bf16", ggml_type=30, nbytes=2)
