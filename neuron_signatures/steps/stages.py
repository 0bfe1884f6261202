"""The table of the stages of a pipeline, in their order. A new stage is one more entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal

from neuron_signatures.analysis.mode_flags import FLAGS as RANK_FLAGS
from neuron_signatures.cli.llm_flags import MODEL_FLAGS
from neuron_signatures.cli.parser import Parser
from neuron_signatures.explain.method import default_set_name
from neuron_signatures.runs.corpus_analysis.folder import Mode as CorpusAnalysis
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.logs.names import log_name
from neuron_signatures.runs.names import CIRCUITS, COMPARISONS, CORPUS_ANALYSIS, MANIFEST, REPORT
from neuron_signatures.runs.records.names import CORPUS_META, RECORDS, RECORDS_META, SAMPLE_META
from neuron_signatures.runs.results import ANALYSIS, INTERVENTIONS, meta_name
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.runs.search.names import SEARCH
from neuron_signatures.runs.skills.names import SKILLS, Mode, record_name
from neuron_signatures.runs.weights.folder import STATISTICS, WEIGHTS_FOLDER
from neuron_signatures.scoring.stage.request import WITHOUT_MODEL

Settings = Mapping[str, Any]
"""Of one step, by key of the configuration: the stage's flag without its dashes."""
Takes = Callable[[str, Settings], frozenset[str]]
"""The flags of a shared table that apply to a step with these settings of its own."""
Replacing = Literal["nothing", "run", "records", "set", "scores", "skills"]

SHARED: Final = ("model", "llm", "budget")
"""Tables whose flags go to several stages, unless a step has its own."""
RESERVED: Final = {
    "run_dir", "out_dir", "resume", "overwrite", "dry_run", "json", "quiet", "help", "show_prompt", "shard", "merge",
    "index_only",
}  # fmt: skip
"""Flags that the pipeline gives itself, or that would leave a step unfinished."""
NOT_IN_RESULTS: Final = {
    "max_cost", "max_requests", "price_file", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout",
    "no_cache", "api_key_env", "allow_http", "checkpoint_seconds", "engine", "ray_address", "n_shards", "retry_failed",
    "max_memory",
}  # fmt: skip
"""Flags that say how a step runs, not what comes out: with other values nothing runs again."""
_HOW_IT_LOADS: Final = frozenset({"device", "device_map", "trust_remote_code", "deterministic"})
_OF_MODEL: Final = _HOW_IT_LOADS | {"model_name", "model_revision", "model_dtype", "quantization"}
_OF_LLM: Final = MODEL_FLAGS | {"llm", "concurrency", "batch_size", "device", "model_dtype", "temperature"}
_BUDGET: Final = frozenset({"max_cost", "max_requests", "price_file"})
_NEURONS: Final = frozenset({"neurons", "neuron_indices", "neurons_json", "from", "all", "top_k", "poles", "limit"})


def _nothing(settings: Settings) -> frozenset[str]:
    return frozenset()


def _nothing_written(settings: Settings) -> tuple[str, ...]:
    return ()


def _nothing_taken(table: str, settings: Settings) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True)
class Stage:
    """What the pipeline knows of a stage. The flags themselves come from the stage's parser."""

    table: str
    """Its table in the configuration."""
    module: str
    needs: Callable[[Settings], frozenset[str]]
    """Tables of the steps whose results a step reads, by its settings."""
    subcommand: str = ""
    """The command of the module that the table stands for, whose flags are in `cli/corpus_analysis/`."""
    flags: str = ""
    """The module that makes the parser of the subcommand, where it is not in `cli/corpus_analysis/`."""
    fixed: Settings = field(default_factory=dict)
    """Settings that the table stands for."""
    several: bool = False
    """Whether the table can be there several times."""
    takes: Takes = _nothing_taken
    named_by: tuple[str, ...] = ()
    """Settings that name a step."""
    folder: str = ""
    """The folder of its stage records, empty for the run itself."""
    records: Callable[[Settings], tuple[str, ...]] = _nothing_written
    """Names of its stage records, where the settings say them; else they are those that change while the step runs."""
    reads: Callable[[Settings], tuple[str, ...]] = _nothing_written
    """Patterns of files in the run that people or others can change, and that the step reads."""
    replaces: Replacing = "nothing"
    """What has to be replaced if a step has other settings than the results that are there. The results of `nothing`
    are made again without loss; those with other names stay."""
    changes: frozenset[str] = field(default_factory=frozenset)
    """Settings that can change without replacing anything: the stage adds what is missing."""
    some_may_fail: bool = False
    """Whether exit code 1 with a summary means that single requests failed, and the rest is finished."""

    @property
    def command(self) -> str:
        return " ".join([f"python -m neuron_signatures.{self.module}", *filter(None, [self.subcommand])])

    @property
    def exists(self) -> bool:
        return find_spec(f"neuron_signatures.{self._of_flags}") is not None

    def parser(self) -> Parser:
        parser: Parser = import_module(f"neuron_signatures.{self._of_flags}").make_parser()
        return parser

    def check_flags(self, parser: Parser, argv: list[str]) -> None:
        """Raise `UsageError` for flags that the stage refuses, also for those that contradict each other."""
        args, given = parser.parse_args(argv), parser.given(argv)
        check = getattr(import_module(f"neuron_signatures.{self._of_flags}"), "check_flags", None)
        if check is not None:
            check(args.mode if "mode" in args else args, given)

    @property
    def _of_flags(self) -> str:
        """The module that makes the parser."""
        if self.flags:
            return self.flags
        return f"cli.corpus_analysis.{self.subcommand}" if self.subcommand else self.module


def _rank_needs(settings: Settings) -> frozenset[str]:
    return frozenset({"dump"} | ({"records"} if settings.get("reference") == "records" else set()))


def _records_needs(settings: Settings) -> frozenset[str]:
    return frozenset({"dump"} | ({"rank"} if "from" in settings else set()))


def _explain_needs(settings: Settings) -> frozenset[str]:
    return frozenset({"records"} | ({"rank"} if "from" in settings else set()))


def _score_needs(settings: Settings) -> frozenset[str]:
    return frozenset({"records", "explain"} | ({"rank"} if "from" in settings else set()))


def _intervene_needs(settings: Settings) -> frozenset[str]:
    return _rank_needs(settings) | (frozenset({"rank"}) if "from" in settings else frozenset())


def _skills(mode: Mode, *needs: str, replaces: Replacing = "nothing", takes: Takes = _nothing_taken) -> Stage:
    """One mode of stage 7, which has a table of its own."""
    return Stage(
        f"{mode}_skills", "poc7_compare_skills", lambda settings: frozenset(needs), fixed={"mode": mode},
        takes=takes, folder=SKILLS, records=lambda settings: (record_name(mode),), replaces=replaces,
        reads=_logs_of_explanations if mode == "explain" else _nothing_written, some_may_fail=mode == "classify",
    )  # fmt: skip


def _corpus_analysis(mode: CorpusAnalysis, *reads: CorpusAnalysis) -> Stage:
    """An analysis of the records, which has a table of its own; `reads` are those whose results it uses if they are
    there."""
    return Stage(
        mode, "poc4_extract_records", lambda settings: frozenset({"records", *reads}), subcommand=mode,
        takes=_intervene_takes, folder=CORPUS_ANALYSIS, records=lambda settings: (meta_name(mode),),
    )  # fmt: skip


def _weights_reads(settings: Settings) -> tuple[str, ...]:
    """The token counts of a corpus, if there is one."""
    return (f"{RECORDS}/{CORPUS_META}",)


def _search_needs(settings: Settings) -> frozenset[str]:
    return frozenset({"records", "explain"})


def _compare_needs(settings: Settings) -> frozenset[str]:
    return frozenset({"records" if settings.get("from") == "records" else "dump"})


def _circuit_needs(settings: Settings) -> frozenset[str]:
    """Neurons are named by explanations and signatures, if there are some."""
    return _rank_needs(settings) | {"explain", "rank"}


def _logs_of_explanations(settings: Settings) -> tuple[str, ...]:
    return (f"{EXPLANATIONS}/*.jsonl",)


def _report_needs(settings: Settings) -> frozenset[str]:
    return frozenset(table for table in BY_TABLE if table != "report")


def _dump_takes(table: str, settings: Settings) -> frozenset[str]:
    return _OF_MODEL if table == "model" else frozenset()


def _rank_takes(table: str, settings: Settings) -> frozenset[str]:
    """The model is loaded again by some modes."""
    mode = settings.get("mode", "peaks")
    loads = mode != "peaks" or "write_scores" in settings
    return _HOW_IT_LOADS & set(RANK_FLAGS.get(mode, ())) if table == "model" and loads else frozenset()


def _intervene_takes(table: str, settings: Settings) -> frozenset[str]:
    return _HOW_IT_LOADS if table == "model" else frozenset()


def _explain_takes(table: str, settings: Settings) -> frozenset[str]:
    """Look-up rules ask no language model."""
    return frozenset() if settings.get("explainer") == "lookup" else _llm_takes(table, settings)


def _llm_takes(table: str, settings: Settings) -> frozenset[str]:
    """`settings` are those of the step and of the shared tables before."""
    asks = settings.get("llm", "none") != "none"
    if table == "budget":
        return _BUDGET if asks else frozenset()
    return _OF_LLM if table == "llm" and (asks or "llm" not in settings) else frozenset()


def _explain_records(settings: Settings) -> tuple[str, ...]:
    return (meta_name(explanation_set(settings)),)


def _score_takes(table: str, settings: Settings) -> frozenset[str]:
    """Scorers that ask no language model refuse its flags."""
    asks = set(scorers_of(settings)) - set(WITHOUT_MODEL)
    return _llm_takes(table, settings) if asks else frozenset()


def scorers_of(settings: Settings) -> list[str]:
    return _listed(settings.get("scorers", "embedding"))


def scored_sets(settings: Settings) -> list[str] | None:
    """The sets of explanations that a step of `score` names; None for all."""
    return _listed(settings["sets"]) if "sets" in settings else None


def _listed(value: Any) -> list[str]:
    texts = value if isinstance(value, list) else str(value).split(",")
    return [str(text).strip() for text in texts]


def _logs_of_sets(settings: Settings) -> tuple[str, ...]:
    return tuple(f"{EXPLANATIONS}/{log_name(name)}" for name in scored_sets(settings) or ["*"])


def _all_logs(settings: Settings) -> tuple[str, ...]:
    return (f"{EXPLANATIONS}/{log_name('*')}", f"{SCORES}/{log_name('*')}")


def explanation_set(settings: Settings) -> str:
    """The set that a step of `explain` writes."""
    if isinstance(name := settings.get("set"), str):
        return name
    llm = str(settings.get("llm", "none"))
    explainer = settings.get("explainer", "lookup" if llm == "none" else "highlighted")
    return default_set_name(explainer, llm)


STAGES: Final = (
    Stage(
        "dump", "poc1_dump_activations", _nothing, takes=_dump_takes, records=lambda settings: (MANIFEST,),
        replaces="run",
    ),
    Stage(
        "rank", "poc2_analyze_run", _rank_needs, several=True, takes=_rank_takes, folder=ANALYSIS,
        named_by=("mode", "influence_metric", "prompt_id"),
    ),
    Stage(
        "records", "poc4_extract_records", _records_needs, takes=_dump_takes, folder=RECORDS,
        records=lambda settings: (CORPUS_META, RECORDS_META, SAMPLE_META), replaces="records",
        changes=frozenset({"neurons", "neuron_indices", "from", "top_k"}),
    ),
    Stage(
        "explain", "poc5_explain_neurons", _explain_needs, several=True, takes=_explain_takes, folder=EXPLANATIONS,
        named_by=("set", "explainer"), records=_explain_records, replaces="set", changes=_NEURONS, some_may_fail=True,
    ),
    Stage(
        "score", "poc6_score_explanations", _score_needs, several=True, takes=_score_takes, folder=SCORES,
        named_by=("sets", "scorers", "part", "sampling", "label"), reads=_logs_of_sets, replaces="scores",
        changes=_NEURONS | {"sets", "scorers", "controls", "n_null", "embedding_device"}, some_may_fail=True,
    ),
    Stage(
        "intervene", "poc3_intervene", _intervene_needs, several=True, takes=_intervene_takes, folder=INTERVENTIONS,
        named_by=("mode", "prompt_id"),
    ),
    _skills("collect", "dump", takes=_dump_takes, replaces="skills"),
    _skills("compare", "collect_skills"),
    _skills("explain", "compare_skills", "explain"),
    _skills("classify", "explain_skills", takes=_llm_takes),
    _skills("steer", "compare_skills", takes=_intervene_takes),
    Stage(
        "weights", "poc8_weights", lambda settings: frozenset({"dump"}), takes=_dump_takes,
        folder=WEIGHTS_FOLDER.folder, records=lambda settings: (meta_name(STATISTICS),), reads=_weights_reads,
    ),
    _corpus_analysis("similar"),
    _corpus_analysis("clusters"),
    _corpus_analysis("meanings"),
    _corpus_analysis("ngrams", "clusters"),
    Stage(
        "position_contrast", "poc4_extract_records", lambda settings: frozenset({"records"}), subcommand="contrast",
        several=True, takes=_intervene_takes, named_by=("name", "a", "b"), folder=CORPUS_ANALYSIS,
    ),
    Stage(
        "compare_runs", "poc9_compare_runs", _compare_needs, several=True, takes=_intervene_takes,
        named_by=("name",), folder=COMPARISONS,
    ),
    Stage(
        "circuit", "poc10_trace_circuit", _circuit_needs, several=True, takes=_intervene_takes, folder=CIRCUITS,
        named_by=("name", "cases", "prompt_id", "import"),
    ),
    Stage(
        "search", "search_neurons", _search_needs, subcommand="index", flags="cli.search_index", folder=SEARCH,
        records=lambda settings: (meta_name(SEARCH),), reads=_logs_of_explanations,
    ),
    Stage(
        "report", "report", _report_needs, reads=_all_logs,
        records=lambda settings: () if "out" in settings else (REPORT,),
    ),
)  # fmt: skip
BY_TABLE: Final = {stage.table: stage for stage in STAGES}
SHARED_KEYS: Final = {"model": _OF_MODEL, "llm": _OF_LLM, "budget": _BUDGET}
