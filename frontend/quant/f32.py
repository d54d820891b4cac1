"""F32: one IEEE 754 32-bit number per weight."""

from llmc.ir.quant import DenseFormat

F32 = DenseFormat(name="f32", ggml_type=0, nbytes=4)
