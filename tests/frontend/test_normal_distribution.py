"""Quantiles against torch, and against values that are known."""

import pytest

from llmc.frontend.normal_distribution import deviations


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 0.0), (0.95, 1.6448536), (0.8, 0.8416212), (0.001, -3.0902323)])
def test_quantiles(share: float, wanted: float) -> None:
    assert abs(deviations(share) - wanted) < 1e-6
