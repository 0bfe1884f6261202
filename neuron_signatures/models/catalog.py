"""Architectures verified by the tests, and suggested models. Constants only: no library, no network.

Parameter counts (tied weights counted once) were taken from the published configs, built without weights.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Architecture(NamedTuple):
    """`projection` is the module of a decoder layer whose input is `hook_post`."""

    model_type: str
    hf_class: str
    projection: str


class Suggestion(NamedTuple):
    """`gated` models need an accepted licence and HF_TOKEN; the Hub may have changed this since."""

    model_name: str
    model_type: str
    parameters: int
    layers: int
    d_mlp: int
    gated: bool = False

    @property
    def neurons(self) -> int:
        return self.layers * self.d_mlp


class Successor(NamedTuple):
    """Replacement for a model that cannot be loaded, and the reason."""

    model_name: str
    reason: str


VERIFIED: Final = (
    Architecture("gpt2", "GPT2LMHeadModel", "mlp.c_proj"),
    Architecture("gemma", "GemmaForCausalLM", "mlp.down_proj"),
    Architecture("gemma2", "Gemma2ForCausalLM", "mlp.down_proj"),
    Architecture("gemma3_text", "Gemma3ForCausalLM", "mlp.down_proj"),
    Architecture("gemma3", "Gemma3ForCausalLM", "mlp.down_proj"),
    Architecture("llama", "LlamaForCausalLM", "mlp.down_proj"),
    Architecture("qwen2", "Qwen2ForCausalLM", "mlp.down_proj"),
    Architecture("qwen3", "Qwen3ForCausalLM", "mlp.down_proj"),
    Architecture("mistral", "MistralForCausalLM", "mlp.down_proj"),
    Architecture("phi", "PhiForCausalLM", "mlp.fc2"),
    Architecture("phi3", "Phi3ForCausalLM", "mlp.down_proj"),
    Architecture("gpt_neox", "GPTNeoXForCausalLM", "mlp.dense_4h_to_h"),
    Architecture("opt", "OPTForCausalLM", "fc2"),
)

SUGGESTIONS: Final = (
    Suggestion("smollm2", "llama", 134_515_008, 30, 1536),
    Suggestion("openai-community/gpt2", "gpt2", 124_439_808, 12, 3072),
    Suggestion("openai-community/gpt2-medium", "gpt2", 354_823_168, 24, 4096),
    Suggestion("openai-community/gpt2-large", "gpt2", 774_030_080, 36, 5120),
    Suggestion("openai-community/gpt2-xl", "gpt2", 1_557_611_200, 48, 6400),
    Suggestion("google/gemma-2b", "gemma", 2_506_172_416, 18, 16384, True),
    Suggestion("google/gemma-7b", "gemma", 8_537_680_896, 28, 24576, True),
    Suggestion("google/gemma-2-2b", "gemma2", 2_614_341_888, 26, 9216, True),
    Suggestion("google/gemma-2-9b", "gemma2", 9_241_705_984, 42, 14336, True),
    Suggestion("google/gemma-2-27b", "gemma2", 27_227_128_320, 46, 36864, True),
    Suggestion("google/gemma-3-270m", "gemma3_text", 268_098_176, 18, 2048, True),
    Suggestion("google/gemma-3-1b-pt", "gemma3_text", 999_885_952, 26, 6912, True),
    Suggestion("google/gemma-3-4b-pt", "gemma3", 3_880_263_168, 34, 10240, True),
    Suggestion("google/gemma-3-12b-pt", "gemma3", 11_766_034_176, 48, 15360, True),
    Suggestion("google/gemma-3-27b-pt", "gemma3", 27_009_346_304, 62, 21504, True),
    Suggestion("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "llama", 1_100_048_384, 22, 5632),
    Suggestion("meta-llama/Llama-2-7b-hf", "llama", 6_738_415_616, 32, 11008, True),
    Suggestion("meta-llama/Llama-2-13b-hf", "llama", 13_015_864_320, 40, 13824, True),
    Suggestion("meta-llama/Llama-3.2-1B", "llama", 1_235_814_400, 16, 8192, True),
    Suggestion("meta-llama/Llama-3.2-3B", "llama", 3_212_749_824, 28, 8192, True),
    Suggestion("meta-llama/Llama-3.1-8B", "llama", 8_030_261_248, 32, 14336, True),
    Suggestion("meta-llama/Llama-3.1-70B", "llama", 70_553_706_496, 80, 28672, True),
    Suggestion("Qwen/Qwen1.5-1.8B", "qwen2", 1_836_828_672, 24, 5504),
    Suggestion("Qwen/Qwen2.5-0.5B", "qwen2", 494_032_768, 24, 4864),
    Suggestion("Qwen/Qwen2.5-1.5B", "qwen2", 1_543_714_304, 28, 8960),
    Suggestion("Qwen/Qwen2.5-3B", "qwen2", 3_085_938_688, 36, 11008),
    Suggestion("Qwen/Qwen2.5-7B", "qwen2", 7_615_616_512, 28, 18944),
    Suggestion("Qwen/Qwen2.5-14B", "qwen2", 14_770_033_664, 48, 13824),
    Suggestion("Qwen/Qwen2.5-32B", "qwen2", 32_763_876_352, 64, 27648),
    Suggestion("Qwen/Qwen3-0.6B-Base", "qwen3", 596_049_920, 28, 3072),
    Suggestion("Qwen/Qwen3-1.7B-Base", "qwen3", 1_720_574_976, 28, 6144),
    Suggestion("Qwen/Qwen3-4B-Base", "qwen3", 4_022_468_096, 36, 9728),
    Suggestion("Qwen/Qwen3-8B-Base", "qwen3", 8_190_735_360, 36, 12288),
    Suggestion("Qwen/Qwen3-14B-Base", "qwen3", 14_768_307_200, 40, 17408),
    Suggestion("mistralai/Mistral-7B-v0.1", "mistral", 7_241_732_096, 32, 14336),
    Suggestion("mistralai/Mistral-7B-Instruct-v0.2", "mistral", 7_241_732_096, 32, 14336),
    Suggestion("mistralai/Mistral-7B-v0.3", "mistral", 7_248_023_552, 32, 14336),
    Suggestion("mistralai/Mistral-Nemo-Base-2407", "mistral", 12_247_782_400, 40, 14336),
    Suggestion("microsoft/phi-1_5", "phi", 1_418_270_720, 24, 8192),
    Suggestion("microsoft/phi-2", "phi", 2_779_683_840, 32, 10240),
    Suggestion("microsoft/Phi-3-mini-4k-instruct", "phi3", 3_821_079_552, 32, 8192),
    Suggestion("microsoft/phi-4", "phi3", 14_659_507_200, 40, 17920),
    Suggestion("EleutherAI/pythia-70m", "gpt_neox", 70_426_624, 6, 2048),
    Suggestion("EleutherAI/pythia-160m", "gpt_neox", 162_322_944, 12, 3072),
    Suggestion("EleutherAI/pythia-410m", "gpt_neox", 405_334_016, 24, 4096),
    Suggestion("EleutherAI/pythia-1b", "gpt_neox", 1_011_781_632, 16, 8192),
    Suggestion("EleutherAI/pythia-2.8b", "gpt_neox", 2_775_208_960, 32, 10240),
    Suggestion("EleutherAI/pythia-6.9b", "gpt_neox", 6_857_302_016, 32, 16384),
    Suggestion("EleutherAI/pythia-12b", "gpt_neox", 11_846_072_320, 36, 20480),
    Suggestion("facebook/opt-125m", "opt", 125_239_296, 12, 3072),
    Suggestion("facebook/opt-1.3b", "opt", 1_315_758_080, 24, 8192),
    Suggestion("facebook/opt-6.7b", "opt", 6_658_473_984, 32, 16384),
)

# Qwen 1 is not part of transformers: its repository contains the code, written for transformers 4.
SUCCESSORS: Final = {
    "Qwen/Qwen-1_8B": Successor(
        "Qwen/Qwen1.5-1.8B", "Qwen 1 needs code from its repository that was written for transformers 4"
    ),
}
