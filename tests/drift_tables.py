"""Tables of a comparison with random drift, and a label that tries to run a script."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuron_signatures.drift.stage import Compared
from neuron_signatures.runs.comparisons import folder as names
from neuron_signatures.runs.tokens import encodable

EVIL = '</script><script>document.title="EVIL"</script><img src=x onerror=alert(1)>'


def compared(labels: list[str], *, n_layers: int = 2, n_neurons: int = 5, reference: int | None = None) -> Compared:
    """Runs with random drift; the last is the reference."""
    rng, n = np.random.default_rng(0), len(labels)
    reference = n - 1 if reference is None else reference
    rows, models = [], []
    for a in range(n):
        if a == reference:
            continue
        for layer in range(n_layers):
            for neuron in range(n_neurons):
                row = dict.fromkeys(names.TABLES[names.DRIFT].columns, np.nan)
                row |= {"a": a, "b": reference, "layer": layer, "neuron": neuron, "pearson": rng.uniform(-1, 1),
                        "jaccard": rng.uniform(), "mean_a": rng.normal(), "mean_b": 0.5, "std_a": rng.uniform(1, 2),
                        "std_b": 0.0, "rate_a": rng.uniform(), "rate_b": 0.25}  # fmt: skip
                rows.append(row)
        for layer in (-1, *range(n_layers)):
            models.append({"a": a, "b": reference, "layer": layer, "cka": 0.9, "debiased_cka": 0.8, "low": 0.7,
                           "high": 0.9, "null_mean": 0.0, "null_sd": 0.1, "p": 0.01, "n_null": 20, "n_tokens": 9,
                          })  # fmt: skip
    checkpoints = pd.DataFrame({"checkpoint": range(n), "label": list(map(encodable, labels)),
                                "reference": [i == reference for i in range(n)]})  # fmt: skip
    tables = {names.CHECKPOINTS: checkpoints, names.DRIFT: pd.DataFrame(rows), names.MODELS: pd.DataFrame(models)}
    return Compared(tables, {"n_tokens": 40, "n_cka_tokens": 40, "pairs": []}, [])
