"""Capped logits on every level this machine runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.softcap import Softcap, reference
from llmc.target import Isa

Guard = Callable[[NDArray[Any]], NDArray[Any]]


@pytest.mark.parametrize("spec", [Softcap()], ids=lambda s: s.symbol)
@pytest.mark.parametrize("n", [7, 48])
def test_caps_the_rows_asked_for(spec: Softcap, isa: Isa, n: int, compiled: Any, guarded: Guard) -> None:
    ld = -(-n // 16) * 16
    x = np.zeros((4, ld), np.float32)
    x[:, :n] = np.geomspace(1e-6, 1e4, 4 * n).reshape(4, n) * np.where(np.arange(n) % 2, 1, -1)
    x = guarded(x)
    before = x.copy()
    compiled(spec, isa)(x, n, ld, 30.0, 1, 3)
    np.testing.assert_allclose(x[1:3], reference(before[1:3], np.float32(30.0)), rtol=5e-7)
    assert (x[[0, 3]] == before[[0, 3]]).all() and not x[:, n:].any()
