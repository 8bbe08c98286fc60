# `make help` lists the targets. Everything runs in .venv, which the first target makes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INDEX := _build/html/index.html
# No .pyc files from hooks, no version nags, no colours in logs.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The book is made from the small, embedded models, and nothing is fetched on the way.
ONCE := COMPANION_PROFILE=small HF_HUB_OFFLINE=1
# The tests share the cores by processes of one thread each. Threads of one process wait for each other
# asleep: in a spin, which is the default, two of them take a hundred times as long on a busy machine.
PROCESSES ?= 2
THREADS ?= 1
SIDE_BY_SIDE := OMP_NUM_THREADS=$(THREADS) OMP_WAIT_POLICY=passive $(ONCE)
# Which of the unit tests: make unit MARKED="not slow"
MARKED ?= slow or not slow
say = @echo "==> $(1)"

.DEFAULT_GOAL := help
.PHONY: help env book test lint types unit compiled notebooks pages run lab zoo bench floors constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(STAMP) ## make .venv and install the package, the book's and the tests' tools

# Again only when the declaration or the versions change.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "No '$(PYTHON)' found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old, Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python has no venv module: install it (Debian, Ubuntu: apt install python3-venv), then run make again."; exit 1; }
	$(call say,making the environment in $(VENV))
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call say,installing the package and its tools at the versions of constraints.txt (some minutes the first time))
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[book,daam,test]'
	@$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt daam
	@touch $@

# From scratch each time: a second build over the first would not repeat its warnings, and pass.
book: $(STAMP) ## build the HTML at _build/html/index.html
	$(call say,building the book)
	@rm -rf _build
	@$(BIN)/jupyter-book build . --path-output . -n -W --keep-going --quiet
	@test -f $(INDEX) || { echo "jupyter-book ended well but wrote no $(INDEX): is jupyter-book older than 2 installed?"; exit 1; }
	$(call say,the book is at $(INDEX))

# The steps run one after another, also under `make -j`; those that keep one core busy, side by side.
test: $(STAMP) ## everything CI checks: lint, types, unit tests, notebooks, the built pages
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory notebooks
	@$(MAKE) --no-print-directory -j 2 book compiled types
	@$(MAKE) --no-print-directory pages

lint: $(STAMP) ## ruff: rules and format
	$(call say,checking the code with ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## mypy
	$(call say,checking the types with mypy)
	@$(BIN)/mypy

unit: $(STAMP) ## the tests of the package and of the chapters' sources
	$(call say,running the unit tests)
	@$(SIDE_BY_SIDE) $(BIN)/pytest -n $(PROCESSES) --dist worksteal -m "($(MARKED)) and not pages and not compiles"

compiled: $(STAMP) ## the tests that really compile, in a process of their own
	$(call say,running the tests that compile)
	@$(SIDE_BY_SIDE) $(BIN)/pytest -m compiles $$(grep -rl 'mark.compiles' tests --include='*.py')

notebooks: $(STAMP) ## run every notebook and compare what it prints and draws with what is stored
	$(call say,running the notebooks against their stored outputs)
	@$(SIDE_BY_SIDE) $(BIN)/pytest -n $(PROCESSES) --nbval book/

pages: $(STAMP) ## check the built HTML
	$(call say,checking the built pages)
	@$(BIN)/pytest -m pages tests/book

run: $(STAMP) ## execute the notebooks from their text twins and store the outputs (one: make run CHAPTER=02)
	$(call say,executing the notebooks)
	@$(ONCE) $(BIN)/python tools/run_book.py $(CHAPTER)

# Started here and not in book/: jupytext looks for its settings in the server's own folder.
lab: $(STAMP) ## open the notebooks in JupyterLab
	$(call say,starting JupyterLab)
	@$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/book

# Hours on a CPU, minutes on a GPU; a run that was cut off goes on where it was.
zoo: $(STAMP) ## train the embedded models from their recipes and measure them
	@for model in $$($(BIN)/companion zoo list --names); do \
	  echo "==> training $$model"; $(BIN)/companion zoo train $$model || exit 1; \
	  $(BIN)/python tools/adopt_model.py $$model || exit 1; \
	  echo "==> measuring $$model"; $(BIN)/companion zoo evaluate $$model || exit 1; \
	done

bench: $(STAMP) ## run the benchmarks and print their tables of ratios
	$(call say,running the benchmarks)
	@for script in benchmarks/*.py; do echo "==> $$script"; $(BIN)/python $$script || exit 1; done

floors: $(STAMP) ## draw the rooms of the package by floor, for CONTRIBUTING.md
	@$(BIN)/python tools/floors.py

# The list that CI, environment.yml and .venv share: what a fresh install of the ranges resolves to.
constraints: ## resolve the ranges anew and write constraints.txt
	$(call say,resolving the ranges of pyproject.toml in a fresh environment)
	@$(PYTHON) tools/freeze.py

clean: ## remove the built pages and the caches (the environment stays; rm -r .venv removes it)
	$(call say,removing what was built)
	@rm -rf _build build dist .pytest_cache .mypy_cache .ruff_cache
	@find src tests tools book -name __pycache__ -type d -prune -exec rm -rf {} +
