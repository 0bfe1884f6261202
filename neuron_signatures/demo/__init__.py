"""The demo world, a corpus of checkable facts, and a small Gemma-2 model trained on it.

Importing this package is cheap: it only defines the paths of the shipped weights.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_CHECKPOINT_PREFIX = "step-"


def model_dir() -> Path:
    """Folder of the trained model; `AutoModelForCausalLM.from_pretrained` loads it."""
    return _HERE / "model"


def saes_dir() -> Path:
    """Folder of the sparse autoencoders of the trained model: res, att and mlp of every layer."""
    return _HERE / "saes"


def checkpoint_dirs() -> dict[int, Path]:
    """Training step → folder of the model at that step, in order, without the final model."""
    folders = sorted((_HERE / "checkpoints").glob(f"{_CHECKPOINT_PREFIX}*"))
    return {int(folder.name.removeprefix(_CHECKPOINT_PREFIX)): folder for folder in folders}
