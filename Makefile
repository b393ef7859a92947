# make course   the whole course: data, both models, evaluation, comparison
# make test     everything that CI runs
# make bench    what is fast, measured side by side with the plain way
# make clean    removes what the targets above made, but no data and no runs

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPEAKER := $(BIN)/python -m speaker_lib
DATA := $(or $(SPEAKER_DATA),data/simulated)
RUNS := runs/$(notdir $(DATA:%/=%))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: course test lint bench clean
.DELETE_ON_ERROR:

course: $(VENV)/.installed
	@[ -n "$(SPEAKER_DATA)" ] || [ -e $(DATA) ] || $(SPEAKER) simulate $(DATA)
	@size=$$($(BIN)/python -c "import torch; print('' if torch.cuda.is_available() else 'laptop_')"); \
	for preset in $${size}baseline $${size}tuned; do \
		run=$(RUNS)/$$preset; runs="$$runs $$run"; \
		$(SPEAKER) train --data $(DATA) --preset $$preset --run $$run --resume || exit; \
		$(SPEAKER) evaluate --data $(DATA) --run $$run || exit; \
	done; \
	$(SPEAKER) compare $$runs --out $(RUNS)/comparison.png

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement requirements.txt --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement requirements-dev.txt
	touch $@
