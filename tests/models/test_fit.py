"""The rule that chooses a quantisation for a model that does not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import write_gguf
from tiny_models import tiny_model_dir

from neuron_signatures.models import fit
from neuron_signatures.models.fit import CHOICES, Fitting, bytes_needed, first_that_fits, fitting_spec
from neuron_signatures.models.info import ModelInfo, model_info, weights_bytes
from neuron_signatures.models.load import load_config, load_model
from neuron_signatures.models.spec import ModelSpec, Quantization
from neuron_signatures.runs.errors import EnvironmentProblem

AUTO = ModelSpec(str(tiny_model_dir("llama")), dtype="fp32", device="cpu", may_quantize=True)
CONFIG = load_config(AUTO)
INFO = model_info(AUTO, CONFIG)


def fitted(free: int | None, spec: ModelSpec = AUTO, **more: Any) -> Fitting:
    return fitting_spec(spec, CONFIG, INFO, free=free, **more)


def just_enough(quantization: Quantization, info: ModelInfo = INFO, **more: Any) -> int:
    return int(bytes_needed(info, "fp32", quantization, **more) / 0.95) + 1


@pytest.mark.parametrize("quantization", CHOICES)
def test_the_first_that_fits_is_chosen(quantization: Quantization) -> None:
    enough = just_enough(quantization)
    assert first_that_fits(INFO, "fp32", enough) == quantization
    assert first_that_fits(INFO, "fp32", enough - 2) != quantization
    found = fitted(enough)
    assert (found.spec.quantization, found.spec.may_quantize) == (quantization, False)
    assert bool(found.reason) is (quantization != "none")
    assert found.warning == ""


def test_needs_are_ordered_and_hold_the_weights() -> None:
    needs = [bytes_needed(INFO, "fp32", q) for q in CHOICES]
    assert needs == sorted(needs, reverse=True) and len(set(needs)) == 3
    assert all(bytes_needed(INFO, "bf16", q, 0) > weights_bytes(INFO, "bf16", q) for q in CHOICES)
    much = 10 * INFO.parameters
    assert bytes_needed(INFO, "fp32", "none", much) == weights_bytes(INFO, "fp32") + much


def test_loading_holds_the_largest_tensor_twice() -> None:
    """By hand: of a model that is stored in bf16 and loaded in fp32, 2 + 4 bytes of the embedding."""
    info = dataclasses.replace(INFO, checkpoint_dtype="bf16")
    assert bytes_needed(info, "fp32", "none", 0) - weights_bytes(info, "fp32") == 6 * info.vocab * info.d_model


def test_the_reason_says_sizes_and_the_choice() -> None:
    found = fitted(just_enough("8bit", work_bytes=0), work_bytes=0)
    assert found.reason.startswith("the weights need ") and "in fp32" in found.reason
    assert "are free: loading in 8bit (" in found.reason


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_what_the_flags_say_is_not_changed(quantization: Quantization) -> None:
    asked = dataclasses.replace(AUTO, may_quantize=False, quantization=quantization)
    assert fitted(1, asked) == Fitting(asked)


def test_nothing_is_chosen_where_the_memory_is_unknown() -> None:
    assert fitted(None) == Fitting(dataclasses.replace(AUTO, may_quantize=False))
    assert first_that_fits(INFO, "fp32", None) == "none"


def test_what_fits_in_no_form_stays_as_it_is_with_a_warning() -> None:
    found = fitted(1000)
    assert (found.spec.quantization, found.reason) == ("none", "")
    assert "and 4bit needs" in found.warning and "1.0 kB are free" in found.warning
    assert found.warning.endswith("use --model_dtype bf16, or free some memory, or use a smaller model")


def test_without_bitsandbytes_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="in 8bit it fits, but bitsandbytes is not installed") as e:
        fitted(just_enough("8bit"))
    assert "pip install bitsandbytes" in e.value.next_step and "--quantization none" in e.value.next_step
    assert fitted(just_enough("none")).reason == ""  # not needed
    assert fitted(1000).warning  # would not help


def test_quantised_checkpoints_stay_as_they_are(tmp_path: Path) -> None:
    gguf = ModelSpec(str(write_gguf(tmp_path / "tiny.gguf")), dtype="fp32", device="cpu", may_quantize=True)
    config = load_config(gguf)
    found = fitting_spec(gguf, config, model_info(gguf, config), free=1)
    assert found == Fitting(dataclasses.replace(gguf, may_quantize=False))

    folder = tmp_path / "gptq"
    folder.mkdir()
    for file in Path(AUTO.name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    raw = json.loads((folder / "config.json").read_text())
    raw["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(raw))
    spec = dataclasses.replace(AUTO, name=str(folder))
    assert fitting_spec(spec, load_config(spec), INFO, free=1).spec.quantization == "none"


def test_the_memory_of_the_device_is_asked(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def free(device: Any, *, several: bool) -> int:
        asked.append((device.type, several))
        return just_enough("4bit")

    monkeypatch.setattr(fit, "free_memory", free)
    found = fit.fit_to_memory(dataclasses.replace(AUTO, device_map="auto"), CONFIG, INFO)
    assert found.spec.quantization == "4bit"
    assert asked == [("cpu", True)]
    assert "--quantization none forbids it" in caplog.text
    assert fit.fit_to_memory(found.spec, CONFIG, INFO) == Fitting(found.spec)
    assert len(asked) == 1


def test_load_model_takes_the_choice_as_it_is() -> None:
    """A spec whose choice nobody made loads unquantised."""
    model = load_model(AUTO)
    assert not hasattr(model.config, "quantization_config")
