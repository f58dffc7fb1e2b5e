# Everything a newcomer needs: `make demo` and `make test` do all set-up by themselves (Python 3.11 or newer, and make).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SETUP  := constraints.txt pyproject.toml $(wildcard plugins/*/pyproject.toml)
TOOLS  := build pytest pytest-benchmark pytest-xdist ruff monai einops nibabel PyWavelets scikit-image pydicom pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle fastapi uvicorn highdicom dicognito lightning-fabric matplotlib
# What builds the site, as in the extra "docs".
SITE   := sphinx pydata-sphinx-theme myst-nb sphinx-gallery
# Tables that a suite runs; the others come from scripts.
PLANS  := $(shell grep -L '^suite: script' benchmarks/*.yaml)
# Two threads gain nothing on the tiny images of the tests.
QUICK  := OMP_NUM_THREADS=1

.PHONY: demo test test-slow test-dist mutants lint docs screenshots dist bench models results documents directory pictures clean

demo: $(READY)  ## hide scans in photographs, have them analysed there, and write demo/report.html
	$(BIN)/privmed demo -o demo

test: $(READY)  ## fast tests of the core and of all plugins
	$(QUICK) $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(READY)  ## all tests
	$(QUICK) $(BIN)/python -m pytest -m "slow or not slow"

dist: $(READY)  ## wheels and sdists of all five distributions, into build/dist
	rm -rf build/dist && mkdir -p build
	for part in . plugins/*; do $(BIN)/python -m build --no-isolation --outdir build/dist $$part > build/dist.log 2>&1 || { cat build/dist.log; exit 1; }; done
	ls -lh build/dist

test-dist: dist  ## install those wheels into a clean environment outside the repository, and use them there
	$(QUICK) PRIVMED_DIST=build/dist $(BIN)/python -m pytest -m slow -n 2 --dist loadfile tests/installed

mutants: $(READY)  ## deliberate mistakes in the methods, each of which some test must notice; PART=1/2 runs half of them
	$(QUICK) $(BIN)/python tests/mutants.py $(if $(PART),--part $(PART))

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

docs: $(VENV)/.docs  ## the site, with its tutorials run: build/docs/index.html; a warning fails it
	$(QUICK) $(BIN)/python -m sphinx -b html -W --keep-going -n -q docs build/docs

screenshots: $(VENV)/.docs  ## every page of the site, and the demo's report, in Chromium: pictures in build/screenshots, a folder for each look
	rm -rf build/screenshots
	$(QUICK) $(BIN)/python -m pytest -m slow tests/site/test_in_a_browser.py

bench: $(READY)  ## speed, as ratios within one run: benchmarks/results/speed.jsonl
	$(BIN)/python benchmarks/speed.py

models: $(READY)  ## the classifiers that watermarks are held against, into runs/; needs DATA
	for set in busi cxr; do for net in resnet18 resnet34 efficientnet-b0 senet50 resnet50 densenet121 vit; do \
	  out=runs/diagnosis-$$set-$$net; test -f $$out/classifier-$$set-$$net.safetensors || \
	  $(BIN)/privmed train recipes/diagnosis-$$set.yaml -o $$out --set data.root=$(DATA) --set name=$$set-$$net --set method=classifier:$$net; done; done

results: $(READY)  ## the published tables (a day on two cores); needs DATA=folder with the data sets (see docs/training.md)
	for plan in $(PLANS); do name=$$(basename $$plan .yaml); kept=benchmarks/results/$$name.jsonl; \
	  $(BIN)/privmed bench run $$plan --data $(DATA) --models runs -o runs/bench && \
	  $(BIN)/privmed bench merge $$kept runs/bench/$$name.jsonl -o $$kept --newer || exit 1; done
	$(BIN)/python benchmarks/protect_time.py --data $(DATA)
	$(BIN)/python benchmarks/lock.py --data $(DATA)
	$(MAKE) documents

documents: $(READY)  ## put the tables of benchmarks/results into the documents that show them
	$(BIN)/privmed bench table benchmarks/results --into README.md --into docs/results.md --into plugins/privmed-watermarkers/README.md

directory: $(READY)  ## what the conformance kit says of our plugins, for the page "Plugin directory"
	for name in $(notdir $(wildcard plugins/*)); do $(QUICK) $(BIN)/privmed plugins check $$name --json -q > docs/plugin_directory/$$name.json || exit 1; done

pictures: $(READY)  ## the pictures of README, from the demo
	$(BIN)/python benchmarks/pictures.py

$(READY): $(SETUP)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TOOLS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation $(foreach p,$(wildcard plugins/*),-e $(p))
	touch $(READY)

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(SITE)
	touch $@

clean:
	rm -rf $(VENV) demo docs/generated .pytest_cache .ruff_cache build *.egg-info plugins/*/*.egg-info plugins/*/build
