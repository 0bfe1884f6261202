"""The flags of stages that ask a language model, and of what it may cost (docs/llm.md)."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING, Final

from neuron_signatures.cli.arguments import at_least, folder, number
from neuron_signatures.cli.parser import Parser

if TYPE_CHECKING:
    from neuron_signatures.llm.choose import LlmSpec

MODEL_FLAGS: Final = frozenset({
    "base_url", "api_key_env", "requests_per_minute", "tokens_per_minute", "allow_http", "timeout", "max_cost",
    "max_requests", "price_file", "no_cache",
})  # fmt: skip
"""Flags that say nothing with `--llm none`."""
BATCH_SIZE: Final = 8


def add_llm_flags(parser: Parser, *, without: str, several: bool = False) -> argparse._ArgumentGroup:
    """The flags of the language model. `without` is what the stage does without one. Returns the group.

    With `several`, `--llm` can be given more than once, and is read by `llm_specs`.
    """
    group = parser.add_argument_group("language model")
    known = f"openai:MODEL (any OpenAI-compatible API), local:NAME (any --model_name) or none (the default: {without})"
    if several:
        group.add_argument("--llm", action="append", metavar="MODEL", help=f"{known}; twice for two models")
    else:
        group.add_argument("--llm", default="none", metavar="MODEL", help=known)
    group.add_argument("--base_url", metavar="URL", help="of the API; default $OPENAI_BASE_URL, else OpenAI's")
    group.add_argument("--api_key_env", default="OPENAI_API_KEY", metavar="NAME",
                       help="environment variable that holds the key; default OPENAI_API_KEY")  # fmt: skip
    group.add_argument("--allow_http", action="store_true", help="allow a --base_url of http on another machine")
    group.add_argument("--concurrency", type=at_least(1), default=8, metavar="N",
                       help="openai: requests at a time; default 8")  # fmt: skip
    group.add_argument("--requests_per_minute", type=at_least(1), metavar="N", help="openai: limit of the account")
    group.add_argument("--tokens_per_minute", type=at_least(1), metavar="N", help="openai: limit, by estimated tokens")
    group.add_argument("--timeout", type=at_least(1), default=120, metavar="S", help="of a request; default 120")
    group.add_argument("--no_cache", action="store_true", help="neither use nor fill the cache of answers of this user")
    group.add_argument(
        "--batch_size",
        type=at_least(1),
        default=BATCH_SIZE,
        metavar="N",
        help=f"local: prompts at a time; default {BATCH_SIZE}",
    )
    group.add_argument("--device", default="auto", metavar="DEVICE", help="local: cpu, cuda, cuda:N, mps or auto")
    group.add_argument("--model_dtype", choices=("bf16", "fp16", "fp32"), default=None,
                       help="local: default fp32 on a CPU, else bf16")  # fmt: skip
    return group


def add_budget_flags(parser: Parser) -> None:
    group = parser.add_argument_group("budget (exit code 75 where it ends; the same command with more continues)")
    group.add_argument("--max_cost", type=_cost, metavar="USD", help="stop before the run costs more in all")
    group.add_argument("--max_requests", type=at_least(0), metavar="N", help="stop before the run sends more in all")
    group.add_argument("--price_file", type=folder, metavar="FILE", help="prices per million tokens (docs/poc5.md)")


def llm_spec(args: Namespace) -> LlmSpec | None:
    """What the flags of `add_llm_flags` say; None for `--llm none`. Raises `UsageError`."""
    return _spec(args, args.llm)


def llm_specs(args: Namespace) -> tuple[LlmSpec, ...]:
    """What the flags of `add_llm_flags(several=True)` say about each model; empty without one. Raises `UsageError`."""
    return tuple(spec for text in args.llm or () if (spec := _spec(args, text)) is not None)


def _spec(args: Namespace, llm: str) -> LlmSpec | None:
    from dataclasses import replace

    from neuron_signatures.llm.choose import parse_llm

    spec = parse_llm(llm)
    if spec.kind == "none":
        return None
    return replace(
        spec, base_url=args.base_url, api_key_env=args.api_key_env, allow_http=args.allow_http,
        concurrency=args.concurrency, timeout=float(args.timeout), device=args.device, dtype=args.model_dtype,
        batch_size=args.batch_size or BATCH_SIZE, requests_per_minute=args.requests_per_minute,
        tokens_per_minute=args.tokens_per_minute,
    )  # fmt: skip


def _cost(text: str) -> float:
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value
