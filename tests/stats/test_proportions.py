"""Wilson intervals against published values."""

from __future__ import annotations

import numpy as np

from neuron_signatures.stats.proportions import wilson


def test_wilson() -> None:
    low, high = wilson(np.array([0, 8, 10, 0]), np.array([10, 10, 10, 0]), 1.96)
    np.testing.assert_allclose(low, [0, 0.4902, 0.7225, np.nan], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.9433, 1, np.nan], atol=1e-4)
