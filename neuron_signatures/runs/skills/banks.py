"""Units and banks: what can belong to a skill, and how it is named.

A bank is all units of one source at one site of one layer: the features of a sparse autoencoder, the neurons of an MLP,
or the directions of a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from neuron_signatures.runs.errors import UsageError

Site = Literal["res", "att", "mlp", "neuron"]
"""Where a unit is read, in a layer L of transformer-lens' names: `res` is `blocks.L.hook_resid_post`, `att` is
`blocks.L.attn.hook_z` with its heads flattened, `mlp` is `blocks.L.hook_mlp_out` (after the post-norm where there is
one), `neuron` is `blocks.L.mlp.hook_post`."""
SITES: Final[tuple[Site, ...]] = get_args(Site)
SITE_HOOKS: Final[dict[Site, str]] = {
    "res": "blocks.{layer}.hook_resid_post",
    "att": "blocks.{layer}.attn.hook_z",
    "mlp": "blocks.{layer}.hook_mlp_out",
    "neuron": "blocks.{layer}.mlp.hook_post",
}
SAE_SITES: Final[tuple[Site, ...]] = ("res", "att", "mlp")
SAE: Final = "sae"
NEURONS: Final = "neurons"
_SOURCE: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


@dataclass(frozen=True, order=True)
class Bank:
    """All units of one source at one site of one layer.

    `source` is `sae`, `neurons`, or the name of a set of directions (such as `pca`). `n_units` counts features, neurons
    or directions. Units of a `signed` bank (neurons, directions) have two poles, each of which counts as a unit: the
    positive parts in columns 0 to n_units - 1, the negative parts (as positive numbers) after them.
    """

    source: str
    site: Site
    layer: int
    n_units: int

    def __post_init__(self) -> None:
        if _SOURCE.fullmatch(self.source) is None or self.site not in SITES:
            what = "a source has up to 32 of a-z, 0-9 and _, and a site is res, att, mlp or neuron"
            raise UsageError(what, where=f"{self.source!r} at {self.site!r}")

    @property
    def signed(self) -> bool:
        return self.source != SAE

    @property
    def width(self) -> int:
        """Columns of the bank: poles count."""
        return self.n_units * (2 if self.signed else 1)

    @property
    def key(self) -> str:
        """Such as `sae.res.3`: the beginning of the names of its tensors."""
        return f"{self.source}.{self.site}.{self.layer}"

    @property
    def group(self) -> str:
        """Source and site without the layer, such as `sae res`; `neurons` for neurons."""
        return self.source if self.site == "neuron" else f"{self.source} {self.site}"

    def label(self, unit: int) -> str:
        """The name of a column: `L3N508+`, `L3N508-` for the poles of a neuron, `res L3F12` for a feature, and
        `pca res L3D12-` for a direction."""
        assert 0 <= unit < self.width
        pole = "" if not self.signed else "+" if unit < self.n_units else "-"
        number = unit % self.n_units
        if self.source == NEURONS:
            return f"L{self.layer}N{number}{pole}"
        if self.source == SAE:
            return f"{self.site} L{self.layer}F{number}"
        return f"{self.source} {self.site} L{self.layer}D{number}{pole}"
