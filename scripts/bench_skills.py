"""Speed and memory of `poc7_compare_skills --mode collect` on the demo model with its 15 autoencoders.

python scripts/bench_skills.py                 # tokens per second against bare forward passes; memory against texts
python scripts/bench_skills.py --only speed
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bench_common import Bar, peak_memory, run_benches, spread

from neuron_signatures.models.capture import backbone, pad_batch
from neuron_signatures.models.load import load_model
from neuron_signatures.models.sites import SiteCapture
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.records.request import NewRun
from neuron_signatures.records.target_run import plan_for_model
from neuron_signatures.runs.progress import silent
from neuron_signatures.skills.collect.banks import load_banks, plan_banks
from neuron_signatures.skills.collect.batches import batches, default_batch_size
from neuron_signatures.skills.collect.find_saes import find_saes
from neuron_signatures.skills.collect.part import PassSettings, run_part
from neuron_signatures.skills.collect.request import BanksRequest, CollectRequest, TextsRequest
from neuron_signatures.skills.collect.stage import read_request_texts

LEAST_SHARE, LEAST_SHARE_BACKBONE, LEAST_SHARE_NEURONS, MOST_MEMORY = 0.6, 0.35, 0.5, 1.1
_SPEC = ModelSpec("demo", dtype="fp32", device="cpu")
_MEMORY = """
import sys
from neuron_signatures import poc7_compare_skills
from neuron_signatures.skills.collect import batches
batches.PART_BYTES = 1 << 23
poc7_compare_skills.main(["--mode", "collect", "--texts", "demo", "--saes", "demo", "--model_name", "demo",
                          "--n_texts", sys.argv[1], "--out_dir", sys.argv[2], "--quiet", "--device", "cpu"])
"""


class Pass:
    """The pass over texts of the demo world, without reading and writing files, and the bare one beside it."""

    def __init__(self, n_per_class: int, sources: tuple[str, ...]) -> None:
        request = CollectRequest(
            NewRun(Path(), _SPEC), TextsRequest("demo", n_per_class, None, 128, 1),
            BanksRequest("demo", None, sources, None, None), 3, 0.99, 2000, None, 0,
        )  # fmt: skip
        plan = plan_for_model(_SPEC, None)
        self.texts, self.model = read_request_texts(request, plan), load_model(_SPEC, quiet=True)
        self.banks = load_banks(plan_banks(request.banks, plan.info, find_saes(request, plan)), self.model)
        places = dict.fromkeys(bank.place for bank in self.banks)
        self.capture = SiteCapture(self.model.hf, list(places))
        widths = {bank.bank.key: self.capture.widths[bank.place] for bank in self.banks if bank.encoder is not None}
        means = {key: np.zeros(width, np.float32) for key, width in widths.items()}
        self.work = PassSettings(
            self.model, self.capture, self.banks, self.texts, 3, default_batch_size("cpu"), means
        )  # fmt: skip
        self.n_tokens = int(self.texts.n_counted.sum())

    def bare(self) -> None:
        """The model's own forward pass on the same batches, without hooks."""
        self._forward(self.model.hf)

    def backbone(self) -> None:
        """The same without the unembedding, which collect does not run either."""
        self._forward(backbone(self.model.hf))

    @torch.inference_mode()
    def _forward(self, body: torch.nn.Module) -> None:
        for batch in batches(self.texts, range(len(self.texts.texts)), default_batch_size("cpu"), "cpu"):
            padded = pad_batch([self.texts.ids[n].tolist() for n in batch], device=self.model.device)
            mask = padded.attention_mask
            body(input_ids=padded.input_ids, attention_mask=mask, use_cache=False)

    @torch.inference_mode()
    def full(self) -> None:
        """All sums, gates, and strongest units, as arrays that only have to be written."""
        with self.capture:
            run_part(self.work, 0, len(self.texts.texts), silent("tokens", self.n_tokens))


def bench_speed(quick: bool) -> list[Bar]:
    every = Pass(50 if quick else 150, ("sae",))
    both = Pass(50 if quick else 150, ("sae", "neurons"))
    rounds = 3 if quick else 7
    return [
        _share("15 autoencoders: tokens/s / bare forward", every, every.bare, rounds, LEAST_SHARE),
        _share("the same / bare backbone, without logits", every, every.backbone, rounds, LEAST_SHARE_BACKBONE),
        _share("15 autoencoders and all neurons / bare forward", both, both.bare, rounds, LEAST_SHARE_NEURONS),
    ]


def _share(name: str, found: Pass, plain: Callable[[], None], rounds: int, bar: float) -> Bar:
    """Processor time, because other programs run on the same cores."""
    ratios, rates = [], []
    plain()
    found.full()
    for _ in range(rounds):
        bare, full = _processor_time(plain), _processor_time(found.full)
        ratios.append(bare / full)
        rates.append((found.n_tokens / full, found.n_tokens / bare))
    ratio = statistics.median(ratios)
    ours, theirs = (statistics.median(r[i] for r in rates) for i in (0, 1))
    return Bar(name, ratio, f">= {bar}", ratio >= bar, f"{ours:.0f} against {theirs:.0f} tokens/s; {spread(ratios)}")


def _processor_time(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def bench_memory(quick: bool) -> list[Bar]:
    """Peak memory with four times as many texts, each in parts of 8 MB."""
    import tempfile

    few, many = (50, 200) if quick else (100, 400)
    with tempfile.TemporaryDirectory() as folder:
        less, more = (peak_memory(_MEMORY, str(n), f"{folder}/{n}") for n in (few, many))
    ratio = more / less
    detail = f"{more / 1e6:.0f} MB for {4 * many} texts, {less / 1e6:.0f} MB for {4 * few}"
    return [Bar("peak memory, four times the texts", ratio, f"<= {MOST_MEMORY}", ratio <= MOST_MEMORY, detail)]


if __name__ == "__main__":
    sys.exit(run_benches(__doc__, {"speed": bench_speed, "memory": bench_memory}))
