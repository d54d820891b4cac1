"""F16: one IEEE 754 16-bit number per weight."""

from llmc.ir.quant import DenseFormat

F16 = DenseFormat(name="f16", ggml_type=1, nbytes=2)
