"""Building the manifest of a finished dump, and bounding its size before the dump starts."""

from __future__ import annotations

import json
from typing import Any

from neuron_signatures.dump.plan import DumpPlan
from neuron_signatures.models.tokens import adds_bos, bos_policy, token_strings
from neuron_signatures.runs import manifest_file
from neuron_signatures.runs.bounded_json import MAX_MEMORY, parsed_bytes
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.journal import PromptOutcome
from neuron_signatures.runs.manifest import HOOK_NAME, FailedPrompt, Manifest, PromptRecord
from neuron_signatures.runs.tokens import ascii_token, encodable
from neuron_signatures.runs.writer import RunWriter

# Bytes of the manifest without prompts, files and flags, of a record of a file, and of a prompt besides its id, text,
# tokens and metadata: several times what they take.
_HEAD_BYTES, _FILE_BYTES, _PROMPT_BYTES = 1 << 20, 400, 1000


def check_manifest_size(plan: DumpPlan) -> None:
    """Raise `UsageError` if readers could refuse the manifest of this dump because of its size."""
    size, limit = manifest_bytes(plan), manifest_file.MAX_BYTES
    if size > limit or _parsed_bytes(plan, size) > MAX_MEMORY:
        n_tokens = sum(p.seq_len for p in plan.prompts)
        what = (
            f"the manifest of {len(plan.prompts)} prompts with {n_tokens} tokens would take about {human_bytes(size)}, "
            f"the limit is {human_bytes(limit)} or about four million tokens"
        )
        raise UsageError(what, where=str(plan.config.prompts_json), next_step="Split the prompts into several runs")


def _parsed_bytes(plan: DumpPlan, size: int) -> int:
    """Memory of the manifest when it is read."""
    others = [json.dumps([p.prompt.metadata, p.prompt.messages]) for p in plan.prompts]
    commas = sum(3 * p.seq_len + 32 for p in plan.prompts) + sum(text.count(",") for text in others)
    containers = 8 * len(plan.prompts) + sum(text.count("[") + text.count("{") for text in others)
    return parsed_bytes(size, commas, containers)


def manifest_bytes(plan: DumpPlan) -> int:
    """An upper bound for the bytes of the manifest."""
    ids, spelled, in_ascii = _spelled(plan)
    per_token = {i: len(str(i)) + _json_bytes(spelled[i]) + _json_bytes(in_ascii[i]) + 6 for i in ids}
    total = _HEAD_BYTES + _FILE_BYTES * len(plan.shards) + _json_bytes(plan.config.flags_given)
    for p in plan.prompts:
        own = (p.text, p.prompt.metadata, p.prompt.messages, p.prompt.id, p.prompt.id)
        total += _PROMPT_BYTES + sum(map(_json_bytes, own)) + sum(per_token[i] for i in p.token_ids)
    return total


def build_manifest(plan: DumpPlan, writer: RunWriter) -> Manifest:
    """The manifest, once every shard is in the journal."""
    records = [writer.done[n] for n in range(len(plan.shards))]
    outcomes = {o.prompt_id: o for r in records for o in r.outcomes}
    files = [r.file for r in records if r.file]
    _, spelled, in_ascii = _spelled(plan)
    prompts = []
    for n, members in enumerate(plan.shards):
        for i in members:
            outcome = outcomes[plan.prompts[i].prompt.id]
            if outcome.failed is None:
                prompts.append(_prompt_record(plan, i, plan.file_of(n), outcome, spelled, in_ascii))
    config, identity, prepend_bos = plan.config, plan.identity, plan.settings["prepend_bos"]
    return Manifest(
        **writer.facts,
        format_version=2,
        stage="poc1_dump_activations",
        n_prompts=len(prompts),
        n_tokens=sum(p.seq_len for p in prompts),
        n_layers=plan.info.layers,
        layers=plan.layers,
        d_mlp=plan.info.d_mlp,
        hook_name=HOOK_NAME,
        backend=config.backend,
        model_name=encodable(config.model.name),
        model_revision=identity.revision,
        weights_fingerprint=identity.weights_fingerprint,
        architecture=identity.architecture,
        tokenizer_sha256=identity.tokenizer_sha256,
        quantization=identity.quantization,
        trust_remote_code=config.model.trust_remote_code,
        run_device=plan.settings["device"],
        model_dtype=config.model.dtype,
        save_dtype=config.save_dtype,
        prepend_bos=prepend_bos,
        bos_token_id=plan.tokenizer.bos_token_id,
        bos_policy=bos_policy(plan.tokenizer, prepend_bos=prepend_bos),
        tokenizer_adds_bos=adds_bos(plan.tokenizer),
        seed=config.seed,
        activations_file=files[0].name if len(files) == 1 else None,
        files=files,
        flags_resolved={
            **plan.settings,
            "bos": config.bos,
            "batch_size": config.batch_size,
            "model_revision": config.model.revision,
        },
        wall_seconds=round(sum(r.wall_seconds for r in records), 3),
        failed_prompts=[FailedPrompt(prompt_id=o.prompt_id, reason=o.failed) for o in outcomes.values() if o.failed],
        prompts=prompts,
    )


def _spelled(plan: DumpPlan) -> tuple[list[int], dict[int, str], dict[int, str]]:
    """The distinct token ids of the plan, and the string of each as it is and in ASCII."""
    ids = sorted({i for p in plan.prompts for i in p.token_ids})
    spelled = dict(zip(ids, token_strings(plan.tokenizer, ids), strict=True))
    return ids, spelled, {i: ascii_token(s) for i, s in spelled.items()}


def _json_bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def _prompt_record(
    plan: DumpPlan, i: int, file: str, outcome: PromptOutcome, spelled: dict[int, str], in_ascii: dict[int, str]
) -> PromptRecord:
    p = plan.prompts[i]
    chat = {"messages": p.prompt.messages} if p.prompt.messages is not None else {}
    return PromptRecord(
        probe_id=p.prompt.id,
        text=p.text,
        token_ids=p.token_ids,
        tokens=[spelled[t] for t in p.token_ids],
        tokens_ascii=[in_ascii[t] for t in p.token_ids],
        seq_len=p.seq_len,
        activation_tensor_key=p.prompt.id,
        activation_tensor_shape=[len(plan.layers), p.seq_len, plan.info.d_mlp],
        activation_tensor_dtype=plan.config.save_dtype,
        file=file,
        nonfinite=outcome.nonfinite,
        truncated_from=p.truncated_from,
        metadata={**p.prompt.metadata, **chat},
    )
