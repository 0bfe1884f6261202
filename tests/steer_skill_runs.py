"""A run of the demo model with collected texts, units and specific units, for tests of steering.

The autoencoder is untrained (random directions that encode and decode), and the tables of `collect` and `compare` are
made here from the definitions: which units are specific is decided on half `find`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from attribution_cases import loaded
from intervention_runs import demo_run
from safetensors.torch import save_file
from scipy.stats import rankdata

from neuron_signatures.demo.world import documents
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.saes.folders import saes_in
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.models.tokens import encode_text
from neuron_signatures.runs.arrays import write_arrays
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills.banks import NEURONS, SAE, Bank
from neuron_signatures.runs.skills.columns import SPECIFIC, TEXTS
from neuron_signatures.runs.skills.directions import Made, write_directions
from neuron_signatures.runs.skills.names import SAMPLE, SKILLS, part_name, record_name
from neuron_signatures.runs.skills.names import SPECIFIC as SPECIFIC_NAME
from neuron_signatures.runs.skills.names import TEXTS as TEXTS_NAME
from neuron_signatures.runs.skills.reader import sparse_arrays
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.stage_results import write_table

D_MODEL, N_FEATURES, N_DIRECTIONS = 128, 256, 64
SAE_LAYER, NEURON_LAYER, PCA_LAYER = 2, 3, 1
FEATURES = Bank(SAE, "res", SAE_LAYER, N_FEATURES)
NEURON_BANK = Bank(NEURONS, "neuron", NEURON_LAYER, 512)
DIRECTION_BANK = Bank("pca", "res", PCA_LAYER, N_DIRECTIONS)
BANKS = (FEATURES, NEURON_BANK, DIRECTION_BANK)
PER_CLASS = 24


def demo_model() -> LoadedModel:
    return loaded("demo")


def write_sae(folder: Path, *, site: str = "res", layer: int = SAE_LAYER, width: int = D_MODEL, seed: int = 0) -> Sae:
    """An untrained autoencoder in the form of sae-lens: random directions, and 16 features per token."""
    rng = torch.Generator().manual_seed(seed)
    decoder = torch.randn(N_FEATURES, width, generator=rng)
    decoder *= (0.5 + torch.rand(N_FEATURES, 1, generator=rng)) / decoder.norm(dim=1, keepdim=True)
    hook = {"res": f"blocks.{layer}.hook_resid_post", "att": f"blocks.{layer}.attn.hook_z",
            "mlp": f"blocks.{layer}.hook_mlp_out"}[site]  # fmt: skip
    cfg = {"architecture": "topk", "k": 16, "d_in": width, "d_sae": N_FEATURES, "apply_b_dec_to_input": True,
           "metadata": {"hook_name": hook}}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    weights = {"W_enc": decoder.T.contiguous(), "b_enc": torch.zeros(N_FEATURES), "W_dec": decoder,
               "b_dec": 0.1 * torch.randn(width, generator=rng)}  # fmt: skip
    save_file(weights, folder / "sae_weights.safetensors")
    return next(iter(saes_in(folder.parent))).load("cpu")


def labelled_texts(per_class: int = PER_CLASS) -> list[dict[str, Any]]:
    """Different texts of the demo world, which the model was not trained on in this order."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for document in documents(5):
        of_class = found.setdefault(document.skill, {})
        if len(of_class) < per_class:
            of_class.setdefault(document.text, {"text": document.text, "class": document.skill,
                                                "skill": document.sub_skill})  # fmt: skip
        if len(found) == 4 and all(len(v) == per_class for v in found.values()):
            return [row for name in sorted(found) for row in found[name].values()]
    raise AssertionError


def make_run(folder: Path, *, per_class: int = PER_CLASS) -> Path:
    """The run folder; beside it `saes/res`, `directions.safetensors` and `texts.jsonl`."""
    run_dir = demo_run(folder)
    rows = labelled_texts(per_class)
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sae = write_sae(folder / "saes" / "res")
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((N_DIRECTIONS, D_MODEL)).astype(np.float32)
    made = Made("random", seed=3)
    write_directions(folder / "directions.safetensors", {DIRECTION_BANK.key: directions}, made)
    collected = _collect(rows, sae, torch.from_numpy(directions))
    settings = {"texts": str(folder / "texts.jsonl"), "saes": str(folder / "saes"),
                "directions": str(folder / "directions.safetensors"), "seed": 0}  # fmt: skip
    with Run.open(run_dir) as run, open_results(run, SKILLS) as writer:
        _write_collected(writer, run, rows, collected, settings, sae)
        seal = json.loads((run_dir / SKILLS / record_name("collect")).read_text())["record_sha256"]
        write_specific(writer, run, specific_rows(rows, collected), seal)
    return run_dir


def halves(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    return np.array(["find" if i % 2 == 0 else "held_out" for i in range(len(rows))])


class Collected:
    """Activations of every bank at every counted token, with the text of each."""

    def __init__(self, text: np.ndarray, position: np.ndarray, ids: np.ndarray, acts: dict[Bank, np.ndarray]) -> None:
        self.text, self.position, self.ids, self.acts = text, position, ids, acts

    def per_text(self, bank: Bank, reduce: Any, n: int) -> np.ndarray:
        return np.stack([reduce(self.acts[bank][self.text == i], axis=0) for i in range(n)])


def _collect(rows: Sequence[dict[str, Any]], sae: Sae, directions: torch.Tensor) -> Collected:
    model = demo_model()
    places = [Place(b.site, b.layer) for b in BANKS]
    parts: dict[Bank, list[np.ndarray]] = {b: [] for b in BANKS}
    text, position, token = [], [], []
    with SiteCapture(model.hf, places) as capture:
        for i, row in enumerate(rows):
            ids = encode_text(model.tokenizer, row["text"], prepend_bos=True)
            found = capture.run(torch.tensor([ids]))
            values = {b: found[p][0, 1:].clone() for b, p in zip(BANKS, places, strict=True)}
            parts[FEATURES].append(sae.encode(values[FEATURES]).numpy())
            for bank, acts in (
                (NEURON_BANK, values[NEURON_BANK]),
                (DIRECTION_BANK, values[DIRECTION_BANK] @ directions.T),
            ):
                parts[bank].append(np.concatenate([acts.relu().numpy(), (-acts).relu().numpy()], axis=1))
            text += [i] * (len(ids) - 1)
            position += range(1, len(ids))
            token += ids[1:]
    acts = {b: np.concatenate(p).astype(np.float32) for b, p in parts.items()}
    return Collected(np.array(text), np.array(position), np.array(token), acts)


def thresholds(bank: Bank, acts: np.ndarray) -> np.ndarray:
    return np.quantile(acts, 0.95, axis=0).astype(np.float32) if bank.signed else np.zeros(bank.width, np.float32)


def specific_rows(rows: Sequence[dict[str, Any]], found: Collected) -> pd.DataFrame:
    """The AUROC of each unit's mean activation for each class, on the texts of `find`; ranked within the source."""
    half, classes = halves(rows), np.array([row["class"] for row in rows])
    out = []
    for bank in BANKS:
        mean = found.per_text(bank, np.mean, len(rows))
        for name in sorted(set(classes)):
            scores = _auroc(mean[half == "find"], classes[half == "find"] == name)
            held = _auroc(mean[half == "held_out"], classes[half == "held_out"] == name)
            for unit in range(bank.width):
                out.append({"source": bank.source, "site": bank.site, "layer": bank.layer, "unit": unit,
                            "label": bank.label(unit), "class": name, "auroc": scores[unit],
                            "held_out_auroc": held[unit]})  # fmt: skip
    frame = pd.DataFrame(out)
    frame["rank"] = frame.groupby(["class", "source"])["auroc"].rank(ascending=False, method="first").astype("int32")
    for column in SPECIFIC:
        if column not in frame:
            frame[column] = np.nan
    return frame


def _auroc(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    ranks = rankdata(values, axis=0)
    n, m = inside.sum(), (~inside).sum()
    return (ranks[inside].sum(axis=0) - n * (n + 1) / 2) / (n * m)


def write_specific(writer: Any, run: Run, frame: pd.DataFrame, seal: str) -> None:
    writer.begin(record_name("compare"))
    write_table(writer, SPECIFIC_NAME, frame, SPECIFIC)
    record = stage_record(run_identity(run), "compare", {}, stage="poc7_compare_skills", wall_seconds=0.0,
                          collect_sha256=seal, facts={})  # fmt: skip
    writer.record(record_name("compare"), record)


def _write_collected(
    writer: Any, run: Run, rows: Sequence[dict[str, Any]], found: Collected, settings: dict[str, Any], sae: Sae
) -> None:
    writer.begin(record_name("collect"))
    n = len(rows)
    counts = np.bincount(found.text, minlength=n)
    texts = pd.DataFrame({
        "text": np.arange(n), "class": [r["class"] for r in rows], "skill": [r["skill"] for r in rows],
        "half": halves(rows), "n_tokens": counts, "truncated": False, "content": [r["text"] for r in rows],
    })  # fmt: skip
    write_table(writer, TEXTS_NAME, texts, TEXTS)
    parts: dict[str, np.ndarray] = {}
    sample = {"text": found.text.astype(np.int32), "position": found.position.astype(np.int32),
              "token_id": found.ids.astype(np.int32)}  # fmt: skip
    for bank in BANKS:
        acts = found.acts[bank]
        total, peak = found.per_text(bank, np.sum, n), found.per_text(bank, np.max, n)
        for name, matrix in (("total", total), ("peak", peak)):
            if bank.signed:
                parts[f"{bank.key}.{name}"] = matrix.astype(np.float32)
            else:
                parts |= sparse_arrays(f"{bank.key}.{name}.", sp.csr_array(matrix.astype(np.float32)))
        parts |= sparse_arrays(f"{bank.key}.topk.", sp.csr_array((total > 0).astype(np.int32)))
        sample[f"{bank.key}.threshold"] = thresholds(bank, acts)
        if bank.signed:
            sample[f"{bank.key}.acts"] = (acts[:, : bank.n_units] - acts[:, bank.n_units :]).astype(np.float16)
        else:
            sample |= sparse_arrays(f"{bank.key}.", sp.csr_array(acts.astype(np.float16).astype(np.float32)))
    for name, arrays in ((part_name(1), parts), (SAMPLE, sample)):
        with writer.file(name) as f:
            write_arrays(f, arrays)
    shas = {FEATURES: sae.sha256, NEURON_BANK: None, DIRECTION_BANK: sha256_file(Path(settings["directions"]))}
    banks = [{"source": b.source, "site": b.site, "layer": b.layer, "n_units": b.n_units, "origin": "test",
              "sha256": shas[b]} for b in BANKS]  # fmt: skip
    classes = {name: {} for name in sorted(texts["class"].unique())}
    record = stage_record(
        run_identity(run), "collect", settings, stage="poc7_compare_skills", wall_seconds=0.0, n_texts=n,
        n_tokens=len(found.text), n_duplicates=0, n_too_short=0, n_truncated=0, classes=classes, top_k=3,
        quantile=0.95, banks=banks, n_parts=1,
    )  # fmt: skip
    writer.record(record_name("collect"), record)
