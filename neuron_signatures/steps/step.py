"""The steps of a configuration: commands of the stages, in the order in which they run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neuron_signatures.cli.arguments import folder
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.steps.config import Config
from neuron_signatures.steps.flags import flags_of, keys_of, refuse_unknown
from neuron_signatures.steps.stages import (
    BY_TABLE,
    NOT_IN_RESULTS,
    SHARED,
    SHARED_KEYS,
    STAGES,
    Settings,
    Stage,
    explanation_set,
    scored_sets,
)

_OF_NEW_MODEL = {"model_name", "model_revision", "model_dtype", "quantization"}
_BUILT_IN = {"demo", "local", "smollm2"}
_OUTPUTS = {"output_dir", "out", "export"}
# Settings that are paths, or names of what comes with the package.
_NAMES_OR_PATHS = {"corpus", "model_name", "model", "held_out"}


@dataclass(frozen=True)
class Step:
    """A command of a stage."""

    stage: Stage
    name: str
    """Unique in the pipeline, such as `rank influence act_grad 0`."""
    where: str
    """Its table, for messages."""
    settings: Settings
    """Its own and the shared ones that apply."""
    flags: tuple[str, ...]
    """Without those that the pipeline adds when it runs the step."""
    paths: Mapping[str, Path]
    """Files and folders that settings name, by key."""
    can_be_quiet: bool
    needs: tuple[str, ...] = ()
    """Names of the steps on which it depends."""

    @property
    def in_results(self) -> dict[str, Any]:
        """The settings on which the results depend."""
        return {k: v for k, v in self.settings.items() if k not in NOT_IN_RESULTS}

    def argv(self, *more: str, quiet: bool) -> list[str]:
        command = [self.stage.subcommand] if self.stage.subcommand else []
        return [*command, *self.flags, *more, *(["--quiet"] if quiet and self.can_be_quiet else [])]

    def command(self, *more: str) -> str:
        return f"{self.stage.command} {shlex.join([*self.flags, *more])}"


def steps_of(config: Config) -> list[Step]:
    """Raises `UsageError` for the first key or value that its stage refuses, and for a file that is missing."""
    _check_shared(config)
    found = list[Step]()
    for stage in STAGES:
        tables = config.steps.get(stage.table, ())
        if tables and not stage.exists:
            what = f"this version has no stage {stage.table}"
            raise UsageError(what, where=str(config.path), next_step=f"Leave [{stage.table}] away")
        parser = stage.parser() if tables else None
        for number, own in enumerate(tables, start=1):
            assert parser is not None
            name = f"[[{stage.table}]] {number}" if stage.several else f"[{stage.table}]"
            found.append(_step(config, stage, parser, own, f"{config.path}: {name}"))
    return _ordered(_with_needs(_with_names(found)))


def _check_shared(config: Config) -> None:
    for table, settings in config.shared.items():
        for key in settings:
            next_step = f"Keys: {', '.join(sorted(SHARED_KEYS[table]))}"
            refuse_unknown(key, SHARED_KEYS[table], f"{config.path}: [{table}]", next_step=next_step)


def _step(config: Config, stage: Stage, parser: Parser, own: Settings, where: str) -> Step:
    help_step = f"The keys are the flags of `{stage.command} --help`"
    if given := sorted(own.keys() & stage.fixed.keys()):
        raise UsageError(f"{given[0]} is that of the table", where=where, next_step="Leave it away")
    own = {**stage.fixed, **own}
    flags_of(parser, own, where=where, next_step=help_step)  # before shared ones
    new_run = stage.table == "dump" or _makes_run(config, stage, own)
    settings = _merged(config, stage, parser, own, new_run=new_run)
    run_flag = f"--{'out_dir' if new_run else 'run_dir'}={config.run_dir}"
    flags = [run_flag, *flags_of(parser, settings, where=where, next_step=help_step)]
    try:
        stage.check_flags(parser, flags)
    except UsageError as e:
        at = f"{where}: {e.where}" if e.where and e.where != parser.prog else where
        raise UsageError(e.what, where=at, next_step=e.next_step.replace("See --help", help_step)) from e
    return Step(
        stage, _name(stage, parser, settings), where, settings, tuple(flags), _paths(parser, settings, where),
        can_be_quiet="--quiet" in parser._option_string_actions,
    )  # fmt: skip


def _name(stage: Stage, parser: Parser, settings: Settings) -> str:
    if stage.replaces == "set":
        return f"{stage.table} {explanation_set(settings)}"
    keys = {key: keys_of(parser)[key] for key in stage.named_by if key in keys_of(parser)}
    values = [settings.get(key, action.default if key == "mode" else None) for key, action in keys.items()]
    texts = (",".join(map(str, v)) if isinstance(v, list) else str(v) for v in values if v is not None)
    return " ".join([stage.table, *texts])


def _makes_run(config: Config, stage: Stage, own: Settings) -> bool:
    """Whether a step makes a run without prompts: the first one of records or of texts and units."""
    named = "model_name" in own or "model_name" in config.shared.get("model", {})
    first = next((table for table in ("dump", "records", "collect_skills", "weights") if table in config.steps), "")
    return stage.table == first and first != "dump" and named


def _merged(config: Config, stage: Stage, parser: Parser, own: Settings, *, new_run: bool) -> dict[str, Any]:
    """The settings with those of shared tables that apply, which come first."""
    shared: dict[str, Any] = {}
    for table in SHARED:
        takes = stage.takes(table, {**shared, **own}) - (set() if new_run else _OF_NEW_MODEL)
        given = config.shared.get(table, {})
        shared |= {k: v for k, v in given.items() if k in takes and k not in own and k in keys_of(parser)}
    return {**shared, **own}


def _paths(parser: Parser, settings: Settings, where: str) -> dict[str, Path]:
    """The files and folders that a step reads. Raises `UsageError` if one is missing."""
    found = {}
    for key, value in settings.items():
        is_path = keys_of(parser)[key].type is folder and key not in _OUTPUTS
        if not isinstance(value, str) or value in _BUILT_IN or not (is_path or key in _NAMES_OR_PATHS):
            continue
        path = folder(value)
        if path.exists():
            found[key] = path
        elif is_path or key == "corpus":
            next_step = "Paths in a configuration are relative to the working directory"
            raise UsageError("there is no such file", where=f"{where}: {key} = {value}", next_step=next_step)
    return found


def _with_names(steps: Sequence[Step]) -> list[Step]:
    """A number tells steps with the same name apart."""
    named, taken = list[Step](), dict[str, int]()
    for step in steps:
        taken[step.name] = taken.get(step.name, 0) + 1
        number = taken[step.name]
        named.append(replace(step, name=step.name if number == 1 else f"{step.name} #{number}"))
    return named


def _with_needs(steps: Sequence[Step]) -> list[Step]:
    """A ranking that compares with records is none from which records choose neurons; scores are of some sets."""
    found = []
    for step in steps:
        tables = step.stage.needs(step.settings)
        before = [s for s in steps if s is not step and s.stage.table in tables]
        if step.stage.table == "records":
            before = [s for s in before if "records" not in s.stage.needs(s.settings)]
        if step.stage.table == "score" and (sets := scored_sets(step.settings)) is not None:
            before = [s for s in before if s.stage.table != "explain" or explanation_set(s.settings) in sets]
        found.append(replace(step, needs=tuple(s.name for s in before)))
    return found


def _ordered(steps: Sequence[Step]) -> list[Step]:
    """In the order of the stages, but after the steps on which they depend."""
    rest, done = list(steps), list[Step]()
    while rest:
        names = {s.name for s in done}
        following = next(s for s in rest if names.issuperset(s.needs))
        done.append(following)
        rest.remove(following)
    return done


def refuse_missing_stages(steps: Sequence[Step], run_dir: Path, config: Path) -> None:
    """Raise `UsageError` if a step reads what neither the run has nor another step makes."""
    made = {s.stage.table for s in steps}
    if "--out_dir" in {flag.partition("=")[0] for s in steps for flag in s.flags}:
        made.add("dump")
    for step in steps:
        for table in sorted(step.stage.needs(step.settings) - made):
            stage = BY_TABLE[table]
            names = list(stage.records({})) if stage.replaces in ("run", "records", "skills") else []
            missing = [n for n in names if not (run_dir / stage.folder / n).exists()]
            if missing and step.stage.table != "report":
                what = f"{run_dir} has no {stage.folder or 'manifest'}, which {step.name} reads"
                raise UsageError(what, where=str(config), next_step=f"Add a table [{table}]")
