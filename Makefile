# make course             the whole course: data, five lessons from their first cell to their last, the comparison
# make course DATA=dev-clean, make lab DATA=dev-clean: the same on recorded people (LibriSpeech), fetched and prepared first
# make lab                opens copies of the lessons (build/lab) in JupyterLab, to step through them
# make student            build/student.zip to hand out: lessons without outputs, exercises to solve, solutions apart
# make release            after make course: build/finished-runs.tar.gz, with which a class need not wait for training
# make test               everything that CI runs but the two below
# make test-long          what takes minutes: fifty kills over one training, two thousand spoiled files
# make audit              known holes in the packages that CI installs, where that can be asked
# make bench              what is fast, measured side by side with the plain way
# make notebooks          after editing a lesson's .py: makes the committed notebooks and figures anew
# make site               the course as pages in both languages: build/site
# make house              after moving a module: draws the picture of the library anew
# make reference          after changing an option, a setting or a preset: writes docs/reference.md anew
# make check-notebooks    says what is wrong with the committed notebooks
# make repository URL=…   gives the course another address; every badge, cell and page follows
# make clean              removes what the targets above made, but no data, no runs and no copies of lessons

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := $(BIN)/python -m tools
# A lesson's cell may take that many seconds in smoke; it takes a few.
NBVAL := --quiet --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --override-ini=filterwarnings=default --durations=3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: course lab student release site test test-long test-notebooks audit bench notebooks house reference check-notebooks repository clean
.DELETE_ON_ERROR:

ifdef DATA
course lab: data/$(DATA)/metadata.json
course lab: export SPEAKER_DATA := data/$(DATA)
endif

data/%/metadata.json: | $(VENV)/.installed
	@$(BIN)/python -m tools.data $*

course: $(VENV)/.installed
	@$(BIN)/python -m tools.course

lab: $(VENV)/.installed-dev
	@$(TOOLS) lab
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/build/lab/01_baseline.ipynb

student: $(VENV)/.installed-dev
	@$(TOOLS) student

release: $(VENV)/.installed-dev
	@$(TOOLS) release

site: $(VENV)/.installed-dev
	@$(TOOLS) site

# A process to a core, with one thread each: most tests wait for a Python that starts. Those of a file share what it trains.
test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(TOOLS) check
	$(MAKE) test-notebooks
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

test-notebooks: $(VENV)/.installed-dev
	$(TOOLS) smoke
	$(MAKE) --jobs=2 smoke-solved smoke-student

smoke-%:
	env -u SPEAKER_DATA SPEAKER_PROFILE=smoke OMP_NUM_THREADS=1 $(BIN)/pytest $(NBVAL) build/smoke/$*

test-long: $(VENV)/.installed-dev
	$(BIN)/pytest -m long

audit: $(VENV)/.installed-dev
	@$(TOOLS) audit

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

notebooks: $(VENV)/.installed-dev
	$(TOOLS) notebooks

house: $(VENV)/.installed-dev
	$(TOOLS) house

reference: $(VENV)/.installed-dev
	$(TOOLS) reference

check-notebooks: $(VENV)/.installed-dev
	@$(TOOLS) check

repository: $(VENV)/.installed-dev
	@$(TOOLS) repository "$(URL)"

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info
	if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name lab -exec rm -rf {} +; fi

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement requirements.txt --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement requirements-dev.txt
	touch $@
