"""What can be read off the runtime's objects: it has no mutable globals."""

import re
import shutil
import subprocess
from typing import Literal

import pytest

from llmc.toolchain import Toolchain, runtime_include, runtime_sources


@pytest.mark.skipif(not shutil.which("size"), reason="size, of binutils, is not installed")
@pytest.mark.parametrize("product", ["artifact", "loader"])
def test_no_object_has_writable_data(product: Literal["artifact", "loader"]) -> None:
    """Constants with addresses in them lie in .data.rel.ro, which is read-only once loaded."""
    objects = Toolchain.find().compile(runtime_sources(product), include=runtime_include())
    listing = subprocess.run(["size", "-A", *map(str, objects)], capture_output=True, text=True, check=True).stdout
    sizes = re.findall(r"^(\.\S+)\s+(\d+)", listing, re.MULTILINE)
    assert ".text" in dict(sizes)
    assert [(name, size) for name, size in sizes if re.match(r"\.(t?data|t?bss)(?!\.rel\.ro)", name) and int(size)] == []
