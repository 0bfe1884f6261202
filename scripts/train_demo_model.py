"""Train the demo model from scratch on the demo world: tokenizer, weights, checkpoints, training record.

Reads   nothing but `neuron_signatures.demo.world`.
Writes  OUT/model/ (weights, config, tokenizer, training.json) and OUT/checkpoints/step-NNNNNN/.
Run     python scripts/train_demo_model.py            the shipped files: about 25 minutes on one CPU core

--resume continues an interrupted training from its last saved state.
"""

import argparse
import json
import math
import platform
import random
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from neuron_signatures.demo import model_dir
from neuron_signatures.demo.evaluate import city_capital_accuracy
from neuron_signatures.demo.geography import place_names
from neuron_signatures.demo.world import documents

PAD, EOS, BOS = "<pad>", "<eos>", "<bos>"
VOCAB_SIZE = 3072
CONTEXT = 256
# Most rows are short, so that sentences directly after <bos> are frequent, as in prompts. The long rows exceed the
# sliding window of 64.
SHORT_ROW, LONG_ROW, LONG_EVERY = 64, CONTEXT, 4
TOKENS_PER_STEP = 2048
# Before, during and after learning the capitals.
CHECKPOINT_AT = (1 / 12, 1 / 6, 2 / 5)
STATE_FILE = Path("build/demo-training-state.pt")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@dataclass(frozen=True)
class Config:
    """The settings that determine the result. The learning rate warms up to `peak_lr`, then decays to 0 (cosine)."""

    seed: int
    steps: int
    threads: int
    n_documents: int
    peak_lr: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.1
    clip: float = 1.0


@dataclass
class Progress:
    """State of the training. `curve` holds (step, mean training loss since the last entry, city accuracy)."""

    step: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    config = Config(args.seed, args.steps, args.threads, args.n_documents)
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(config.seed)
    texts = [document.text for document in documents(config.seed, config.n_documents, train_only=True)]
    tokenizer = build_tokenizer(texts)
    rows = [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in encode(tokenizer, texts)]
    log(f"{len(rows)} documents, {sum(map(len, rows))} tokens, vocabulary {len(tokenizer)}")
    model = build_model(tokenizer)
    log(f"{sum(p.numel() for p in model.parameters())} parameters")
    progress = train(model, tokenizer, rows, config, args.out, resume=args.resume)
    save(model, tokenizer, args.out / "model")
    write_record(config, progress, rows, model, args.out / "model" / "training.json")
    remove_stale_checkpoints(args.out, config)
    STATE_FILE.unlink(missing_ok=True)
    return 0


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=model_dir().parent, help="folder to write into")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    # On a shared machine with two cores, two threads wait for each other and are slower than one.
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n_documents", type=int, default=240_000, help="documents in the training corpus")
    parser.add_argument("--resume", action="store_true", help=f"continue from {STATE_FILE}")
    return parser.parse_args(argv)


def build_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every single-word place name is one token with its leading space."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    # Digits are separate tokens, with the preceding space, so that " 7" is one token and numbers are not memorised.
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(r" ?\p{N}"), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[PAD, EOS, BOS],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # BPE merges by frequency, so repeated names become single tokens.
    bpe.train_from_iterator([*texts[:40_000], *[f" {name}" for name in place_names()] * 2000], trainer)
    bpe.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    check_names(tokenizer)
    return tokenizer


def check_names(tokenizer: PreTrainedTokenizerFast) -> None:
    single = [name for name in place_names() if " " not in name]
    split = [name for name in single if len(tokenizer.tokenize(f" {name}")) != 1]
    assert not split, f"names of more than one token: {split}"


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]


def build_model(tokenizer: PreTrainedTokenizerFast) -> Gemma2ForCausalLM:
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        query_pre_attn_scalar=32,
        max_position_embeddings=CONTEXT,
        sliding_window=64,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        attn_implementation="eager",
    )
    return Gemma2ForCausalLM(config)


def batches(rows: list[list[int]], seed: int) -> Iterator[Tensor]:
    """Yield [row, position] batches of shuffled documents, forever; each row starts with a new document."""
    stream = shuffled(rows, seed)
    step = 0
    while True:
        length = LONG_ROW if step % LONG_EVERY == LONG_EVERY - 1 else SHORT_ROW
        packed = [pack(stream, length) for _ in range(TOKENS_PER_STEP // length)]
        yield torch.tensor(packed)
        step += 1


def shuffled(rows: list[list[int]], seed: int) -> Iterator[list[int]]:
    rng = random.Random(seed)
    while True:
        yield from rng.sample(rows, len(rows))


def pack(stream: Iterator[list[int]], length: int) -> list[int]:
    """Concatenated documents, cut at the end of the row."""
    packed: list[int] = []
    while len(packed) < length:
        packed += next(stream)
    return packed[:length]


def learning_rate(step: int, config: Config) -> float:
    if step < config.warmup:
        return config.peak_lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.peak_lr * 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(model: Gemma2ForCausalLM, config: Config) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    norms = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": norms, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.peak_lr, betas=(0.9, 0.98))


def train_step(model: Gemma2ForCausalLM, optimizer: torch.optim.AdamW, batch: Tensor, clip: float) -> float:
    """One update; returns the loss in nats per token."""
    logits = model(input_ids=batch, use_cache=False).logits
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item()


def train(
    model: Gemma2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: list[list[int]],
    config: Config,
    out: Path,
    *,
    resume: bool,
) -> Progress:
    optimizer = build_optimizer(model, config)
    progress = load_state(model, optimizer, config) if resume else Progress()
    checkpoints = checkpoint_steps(config)
    report_every, started = max(1, config.steps // 40), time.monotonic() - progress.seconds
    model.train()
    for step, batch in enumerate(batches(rows, config.seed)):
        if step < progress.step:
            continue
        if step >= config.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        progress.recent.append(train_step(model, optimizer, batch, config.clip))
        progress.step, progress.seconds = step + 1, time.monotonic() - started
        if progress.step % report_every == 0:
            report(model, tokenizer, progress)
            save_state(model, optimizer, config, progress)
        if progress.step in checkpoints:
            save(model, tokenizer, checkpoint_folder(out, progress.step))
    return progress


def checkpoint_steps(config: Config) -> set[int]:
    return {round(share * config.steps) for share in CHECKPOINT_AT}


def report(model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast, progress: Progress) -> None:
    accuracy = city_capital_accuracy(model, tokenizer).value
    model.train()
    loss = sum(progress.recent) / len(progress.recent)
    progress.curve.append((progress.step, round(loss, 4), round(accuracy, 4)))
    progress.recent.clear()
    log(f"step {progress.step} loss {loss:.4f} city accuracy {accuracy:.3f} {progress.seconds:.0f} s")


def checkpoint_folder(out: Path, step: int) -> Path:
    return out / "checkpoints" / f"step-{step:06d}"


def remove_stale_checkpoints(out: Path, config: Config) -> None:
    """Remove the checkpoints of an earlier training with another number of steps."""
    current = {checkpoint_folder(out, step) for step in checkpoint_steps(config)}
    for folder in set((out / "checkpoints").glob("step-*")) - current:
        shutil.rmtree(folder)


def save(model: Gemma2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    name_portable_class(folder / "tokenizer_config.json")
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes 0600


def name_portable_class(path: Path) -> None:
    """Record the class name that transformers 4 and 5 know; version 5 writes a new one."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def save_state(model: Gemma2ForCausalLM, optimizer: torch.optim.AdamW, config: Config, progress: Progress) -> None:
    STATE_FILE.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "config": asdict(config),
        "progress": asdict(progress),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    temporary = STATE_FILE.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(STATE_FILE)


def load_state(model: Gemma2ForCausalLM, optimizer: torch.optim.AdamW, config: Config) -> Progress:
    if not STATE_FILE.exists():
        sys.exit(f"{STATE_FILE}: no saved state; start without --resume")
    state: dict[str, Any] = torch.load(STATE_FILE, weights_only=True)
    if state["config"] != asdict(config):
        sys.exit(f"{STATE_FILE} belongs to a run with {state['config']}; give the same flags")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def write_record(
    config: Config, progress: Progress, rows: list[list[int]], model: Gemma2ForCausalLM, path: Path
) -> None:
    record = {
        **asdict(config),
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "corpus_tokens": sum(map(len, rows)),
        "tokens_seen": config.steps * TOKENS_PER_STEP,
        "wall_seconds": round(progress.seconds, 1),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "loss_curve": [
            {"step": step, "training_loss": loss, "city_capital_accuracy": accuracy}
            for step, loss, accuracy in progress.curve
        ],
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path.chmod(0o644)


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
