"""What answers cost: US dollars per million tokens, from `prices.json` or a file of the user.

The form of both: `{"date": "...", "source": "...", "models": {"name": {"input": 1.5, "output": 6.0}}}`. A dated name
such as `gpt-4o-2024-08-06` has the price of `gpt-4o` unless it has its own.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_json_input

_Dollars = Annotated[float, Field(ge=0, le=1e6)]
_Text = Annotated[str, Field(max_length=500)]
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}\Z")


class Price(NamedTuple):
    """US dollars per million tokens. Without discounts (cached prompts, batches), so the cost is an upper bound."""

    input: float
    output: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    input: _Dollars
    output: _Dollars


class Prices(BaseModel):
    """A list of prices, with its date and source."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    date: _Text
    source: _Text
    note: _Text = ""
    models: dict[Annotated[str, Field(max_length=200)], _Model]

    def of(self, model: str) -> Price | None:
        """The price of a model; None if the list has none."""
        found = self.models.get(model) or self.models.get(_DATE.sub("", model))
        return None if found is None else Price(found.input, found.output)


def shipped_prices() -> Prices:
    """OpenAI's published prices, of the day that the file names."""
    text = importlib.resources.files("neuron_signatures.llm").joinpath("prices.json").read_text(encoding="utf-8")
    return Prices.model_validate(json.loads(text))


def read_prices(path: Path) -> Prices:
    """The file of `--price_file`. Raises `UsageError`."""
    value = read_json_input(path)
    try:
        return Prices.model_validate(value)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        next_step = 'Write {"date": ..., "source": ..., "models": {"NAME": {"input": 1.0, "output": 4.0}}}'
        raise UsageError(what, where=str(path), next_step=next_step) from e
