"""The configuration that `--print_example` prints."""

EXAMPLE = """\
# The whole way from prompts to explanations. Start it with
#   python -m neuron_signatures.pipeline --config THIS_FILE
# and see first what it would do with --dry_run. The keys of a table are the flags of its stage, without dashes:
# `[[rank]]` takes those of `python -m neuron_signatures.poc2_analyze_run --help`, and so on. Paths are relative to the
# working directory, as in all commands. A table in [[double brackets]] can be there as often as you like.

run_dir = "runs/mine" # everything is written here

[model] # for dump and records; device and the like also for rank and intervene
model_name = "smollm2" # a Hub id, a folder, a GGUF file, smollm2 or demo
model_dtype = "fp32"
device = "auto"

# [llm] # for explain and score
# llm = "openai:gpt-4.1-mini" # or local:NAME
# base_url = "http://127.0.0.1:8000/v1" # default: that of the provider

# [budget] # of the run in all; the pipeline stops before it would be exceeded, with exit code 75
# max_cost = 5.0 # US dollars
# max_requests = 2000

[dump] # stage 1: the activations of every neuron on your prompts
prompts_json = "docs/probe_prompts_real.json"

[[rank]] # stage 2: how strongly each neuron is active

[[rank]] # which neurons made the model say " Paris" rather than " London"
mode = "influence"
prompt_id = "capital_France"
target_mode = "next_token"
target_token = " Paris"
foil_token = " London"
influence_metric = "dla,act_grad,relp,ig"

[records] # stage 4: what the neurons do on a corpus
corpus = "local" # a file, a folder, demo, or local: English and code of the installed packages
max_tokens = 100000

[[explain]] # stage 5: in words; look-up rules need no language model
explainer = "lookup"

# [[explain]] # with the language model of [llm]
# explainer = "highlighted"
# from = "peaks"
# top_k = 20

[[score]] # stage 6: how well explanations predict activations, beside nulls
scorers = "rule"

# [[score]] # by the language model of [llm]
# scorers = "json,detection"

[[intervene]] # stage 3: change neurons and look at what the model then says
from = "peaks"
top_k = 5
prompt_id = "capital_France"
"""
