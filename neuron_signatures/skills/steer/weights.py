"""Loads what the collected units are: autoencoders and files of directions, checked to be those of `collect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.saes.fit import sae_model_of
from neuron_signatures.models.saes.load import DEMO, saes_of
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.skills.banks import NEURONS, SAE, Bank
from neuron_signatures.runs.skills.directions import DirectionsFile
from neuron_signatures.runs.skills.meta import BankRecord, CollectMeta
from neuron_signatures.skills.steer.edits import BankWeights


def load_weights(
    meta: CollectMeta,
    model: LoadedModel,
    banks: Iterable[Bank],
    *,
    saes: str | None = None,
    directions: Path | None = None,
) -> dict[Bank, BankWeights]:
    """`saes` and `directions` say where the units are now; None means where `collect` found them, if its record says.

    Raises `UsageError` if they are not found, or are other ones than those that were collected.
    """
    wanted = sorted(set(banks))
    records = {record.bank: record for record in meta.banks}
    found = {bank: BankWeights(bank, None) for bank in wanted if bank.source == NEURONS}
    features = [bank for bank in wanted if bank.source == SAE]
    if features:
        spec = saes or _place([records[bank] for bank in features], "saes")
        loaded = _saes(features, model, spec)
        for bank in features:
            _refuse_another(records[bank], loaded[bank].sha256, spec, "--saes")
        found |= {bank: BankWeights(bank, sae.W_dec, sae) for bank, sae in loaded.items()}
    others = [bank for bank in wanted if bank.source not in (SAE, NEURONS)]
    if others:
        path = directions or Path(_place([records[bank] for bank in others], "directions"))
        sha256 = sha256_file(path)
        for bank in others:
            _refuse_another(records[bank], sha256, str(path), "--directions")
        found |= _directions(others, model, path)
    return found


def _saes(banks: Sequence[Bank], model: LoadedModel, spec: str) -> Mapping[Bank, Sae]:
    by_bank = {source.bank: source for source in saes_of(spec, model=sae_model_of(model), force=True)}
    for bank in banks:
        if bank not in by_bank:
            raise UsageError(f"has no {bank.key} of {bank.n_units} features", where=f"SAEs {spec!r}", next_step=_WHERE)
    return {bank: by_bank[bank].load(model.device) for bank in banks}


def _directions(banks: Sequence[Bank], model: LoadedModel, path: Path) -> dict[Bank, BankWeights]:
    with DirectionsFile(path) as file:
        for bank in banks:
            if bank not in file.banks:
                raise UsageError(f"has no {bank.key} of {bank.n_units} directions", where=str(path), next_step=_WHERE)
        rows = {bank: torch.from_numpy(file.arrays(bank).rows).to(model.device) for bank in banks}
    return {bank: BankWeights(bank, matrix) for bank, matrix in rows.items()}


_WHERE = "Say where those that were collected are now: --saes, --directions"


def _place(records: Sequence[BankRecord], flag: str) -> str:
    """Where the records say that all of them are: autoencoders of the demo model, or a file that is still there."""
    origins = {record.origin for record in records}
    if flag == "saes" and all(origin.startswith(f"{DEMO}/") for origin in origins):
        return DEMO
    if flag == "directions" and len(origins) == 1 and Path(*origins).is_file():
        return origins.pop()
    what = f"these were collected from {', '.join(sorted(origins))[:200]}; say where they are"
    raise UsageError(what, where=f"--{flag}", next_step=f"Give --{flag} as to collect")


def _refuse_another(record: BankRecord, sha256: str | None, where: str, flag: str) -> None:
    if record.sha256 is not None and sha256 is not None and record.sha256 != sha256:
        what = f"the weights of {record.bank.key} are not those that were collected"
        raise UsageError(what, where=where, next_step=f"Give the ones of {record.origin} with {flag}, or collect again")
