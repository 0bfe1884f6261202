"""The folder `corpus_analysis/`: its tables and their columns."""

from __future__ import annotations

from typing import Final, Literal, get_args

from neuron_signatures.runs.names import CORPUS_ANALYSIS
from neuron_signatures.runs.stage_results import StageFolder, Table

STAGE: Final = "poc4_extract_records"
CONTRASTS: Final = "contrasts"
"""Folder of the contrasts in the stage folder, each in a folder of its own."""

Mode = Literal["similar", "clusters", "meanings", "ngrams"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
Similarity = Literal["activation", "windows"]
"""Pearson correlation of activations on the corpus; Jaccard index of the strongest windows of two poles."""
SIMILARITIES: Final[tuple[Similarity, ...]] = get_args(Similarity)
Basis = Literal["activations", "weights", "exemplars"]
"""What neurons are clustered by: standardised activations on the corpus, output weights, or the mean embedding of their
strongest windows."""
BASES: Final[tuple[Basis, ...]] = get_args(Basis)
Method = Literal["kmeans", "hdbscan"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

_NEURON: Final = {"layer": "int32", "neuron": "int32"}
_NULL: Final = {"null_mean": "double", "null_sd": "double", "p": "double", "n_null": "int32"}

SIMILAR: Final = "similar"
CLUSTERINGS: Final = "clusterings"
CLUSTERS: Final = "clusters"
CLUSTER_NEURONS: Final = "cluster_neurons"
CLUSTER_TOKENS: Final = "cluster_tokens"
MEANINGS: Final = "meanings"
MEANING_GROUPS: Final = "meaning_groups"
MEANING_WINDOWS: Final = "meaning_windows"
NGRAMS: Final = "ngrams"
NGRAM_NEURONS: Final = "ngram_neurons"
NEURON_NGRAMS: Final = "neuron_ngrams"
CLUSTER_NGRAMS: Final = "cluster_ngrams"
CONTRAST: Final = "contrast"

TABLES: Final = {
    # One row per pair. `pole` and `other_pole` are empty for `activation`, whose value has a sign. `null_high`: 95th
    # percentile of the best value over draws in which the neuron's windows are permuted (activation), or replaced by
    # windows that are in as many lists (windows). `low`, `high`: 95 % interval over documents, of correlations only.
    # `n`: tokens, or windows of a list.
    SIMILAR: Table("similar", {
        **_NEURON, "pole": "string", "kind": "string", "rank": "int32", "other_layer": "int32", "other_neuron": "int32",
        "other_pole": "string", "value": "double", "low": "double", "high": "double", "null_high": "double",
        "n": "int64",
    }),
    # One row per clustering, such as `activations-kmeans-20`. Stability: adjusted Rand index of bootstraps of what the
    # neurons are described by. `silhouette` beside that of shuffled data.
    CLUSTERINGS: Table("clusters", {
        "clustering": "string", "basis": "string", "method": "string", "n_clusters": "int32", "n_neurons": "int32",
        "n_noise": "int32", "ari_mean": "double", "ari_low": "double", "ari_high": "double", "n_bootstraps": "int32",
        "null_ari_mean": "double", "silhouette": "double", **_NULL,
    }),
    # One row per cluster. `effect`: mean over the cluster's windows of KL(clean, all members at their means), in nats;
    # the null is that of as many random neurons of the same layers on the same windows.
    CLUSTERS: Table("clusters", {
        "clustering": "string", "cluster": "int32", "name": "string", "n_neurons": "int32", "silhouette": "double",
        "stability": "double", "effect": "double", "effect_low": "double", "effect_high": "double",
        "n_windows": "int32", **_NULL,
    }),
    # One row per neuron and clustering; cluster -1 is noise (HDBSCAN). `distance` to the cluster's centre.
    CLUSTER_NEURONS: Table("clusters", {
        "clustering": "string", **_NEURON, "cluster": "int32", "distance": "double",
    }),
    # The tokens at which the members are active together: mean over members of the standardised activation.
    CLUSTER_TOKENS: Table("clusters", {
        "clustering": "string", "cluster": "int32", "rank": "int32", "token_id": "int32", "token": "string",
        "score": "double", "count": "int64",
    }),
    # One row per neuron and pole; null cells where it has too few strong windows. `effective_number`: exp of the
    # entropy of the groups' shares. `within`, `between`: mean distance of windows of the same and of different groups.
    # `statistic`, that the null is about: the effective number without groups. Null: as many windows of random neurons.
    # `held_out_*` are on select.
    MEANINGS: Table("meanings", {
        **_NEURON, "pole": "string", "n_windows": "int32", "n_groups": "int32", "effective_number": "double",
        "null_effective_number": "double", "within": "double", "between": "double", "statistic": "double", **_NULL,
        "q": "double", "held_out_n_windows": "int32", "held_out_effective_number": "double",
        "held_out_statistic": "double",
    }),
    MEANING_GROUPS: Table("meanings", {
        **_NEURON, "pole": "string", "group": "int32", "n_windows": "int32", "share": "double", "tokens": "string",
        "cohesion": "double",
    }),
    # `tokens` above: JSON list of the tokens that set the group apart. Windows: those of the strongest list, by rank.
    MEANING_WINDOWS: Table("meanings", {
        **_NEURON, "pole": "string", "rank": "int32", "window": "int32", "pos": "int32", "group": "int32",
    }),
    # The n-grams of the corpus that are frequent enough. `ngram` counts from 0; ids are -1 where n is smaller.
    # `tokens`: JSON list of the raw tokens, which `text` joins. Counts are of positions in explain and select.
    NGRAMS: Table("ngrams", {
        "ngram": "int32", "n": "int32", "text": "string", "tokens": "string", "id_1": "int32", "id_2": "int32",
        "id_3": "int32", "count": "int64", "held_out_count": "int64",
    }),
    # The neurons of an n-gram, and the n-grams of a neuron. `mean`: activation at its last token, on explain. `effect`:
    # (mean - mean of all positions) / standard deviation of the neuron on explain; `held_out_effect`: positions of
    # select, with the same mean and standard deviation. `suffix_effect`: at the n-gram without its first token. The
    # n-grams of a neuron leave out those that add nothing to a suffix.
    NGRAM_NEURONS: Table("ngrams", {
        "ngram": "int32", "rank": "int32", **_NEURON, "pole": "string", "mean": "double", "effect": "double",
        "held_out_effect": "double", "suffix_effect": "double",
    }),
    NEURON_NGRAMS: Table("ngrams", {
        **_NEURON, "pole": "string", "rank": "int32", "ngram": "int32", "mean": "double", "effect": "double",
        "held_out_effect": "double",
    }),
    # Mean over the members of the effect; for each cluster its n-grams by rank.
    CLUSTER_NGRAMS: Table("ngrams", {
        "clustering": "string", "cluster": "int32", "rank": "int32", "ngram": "int32", "effect": "double",
        "held_out_effect": "double",
    }),
}  # fmt: skip

CONTRAST_COLUMNS: Final = {
    **_NEURON, "rank": "int32", "auroc": "double", "difference": "double", "p": "double", "q": "double",
    "mean_a": "double", "mean_b": "double", "sd": "double", "held_out_auroc": "double", "held_out_low": "double",
    "held_out_high": "double", "n_a": "int64", "n_b": "int64",
}  # fmt: skip
"""One row per neuron. `auroc`: probability that the activation at a position of A exceeds that at one of B.
`difference` of means in standard deviations. `q`: Benjamini-Hochberg. Chosen on explain, `held_out_*` on select."""

CORPUS_ANALYSIS_FOLDER: Final = StageFolder(
    folder=CORPUS_ANALYSIS, stage=STAGE, tables=TABLES,
    command=f"python -m neuron_signatures.{STAGE} {{mode}}", modes=MODES,
)  # fmt: skip


def contrast_folder(name: str) -> StageFolder:
    """The folder of one contrast."""
    return StageFolder(
        folder=f"{CORPUS_ANALYSIS}/{CONTRASTS}/{name}", stage=STAGE,
        tables={CONTRAST: Table(CONTRAST, CONTRAST_COLUMNS)},
        command=f"python -m neuron_signatures.{STAGE} {{mode}}", modes=(CONTRAST,),
    )  # fmt: skip
