"""Formats of stored weights, one file each. A file `q4_k.py` holds the format `Q4_K`; a new file is a new format."""

from importlib import import_module
from pkgutil import iter_modules

from llmc.ir.quant import BlockFormat, DenseFormat, Format


def _find() -> dict[str, Format]:
    found: dict[str, Format] = {}
    for module in sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_")):
        fmt = getattr(import_module(f"{__name__}.{module}"), module.upper())
        assert isinstance(fmt, BlockFormat | DenseFormat) and fmt.name == module, module
        found[module] = fmt
    return found


FORMATS: dict[str, Format] = _find()
BY_GGML_TYPE: dict[int, Format] = {fmt.ggml_type: fmt for fmt in FORMATS.values()}
