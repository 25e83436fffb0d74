# hsimap: every command sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOT ?= build/trixie
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1
PYTEST_WORKERS ?= 2

.PHONY: setup demo test check fmt lint types imports bench docs gis gis-run gis-trixie golden image results clean

setup: $(STAMP)
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## map sample_data with models/boreal-demo and compare with the truth
	OMP_NUM_THREADS=2 $(BIN)/hsimap predict sample_data/scene.tif --model models/boreal-demo --out demo
	$(BIN)/python benchmarks/demo_report.py demo/scene sample_data
	@echo "The maps are in demo/scene; open the .tif files in QGIS, or look at demo/scene/preview.png"

test: $(STAMP)  ## the whole test suite
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal

check: lint types imports test

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

fmt: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## reading, writing, kills and resumes, seams; the forests of the demo and, with HSIMAP_DATA, of the real scenes
	$(BIN)/python benchmarks/io.py
	$(BIN)/python benchmarks/crash.py
	$(BIN)/python benchmarks/seams.py
	$(BIN)/python benchmarks/boreal_forests.py
	test -z "$$HSIMAP_DATA" || for recipe in berlin_hymap enmap_potsdam neon_sjer indian_pines; do \
	  $(BIN)/python benchmarks/forest.py pipelines/$$recipe.yaml || exit 1; done

results: $(STAMP)  ## train every recipe on three seeds and append to docs/results
	benchmarks/results.sh

docs: $(STAMP)  ## the pages as a site in build/site; every link and command in them checked
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest -q tests/unit/test_docs.py tests/unit/test_repository.py

gis:  ## open the products in a real QGIS, where there is one
	@if /usr/bin/python3 -c 'import qgis.core' 2>/dev/null; then $(MAKE) --no-print-directory gis-run; \
	else echo "make gis: skipped, no QGIS here (apt-get install -y --no-install-recommends qgis python3-qgis)"; fi

gis-trixie: $(STAMP)  ## as gis, with the QGIS of Debian 13 in a chroot at ROOT; as root
	tests/gis/trixie.sh $(ROOT) $(BIN)/python

gis-run: $(STAMP)
	$(BIN)/python -m pytest -q -m gis tests/gis

golden: $(STAMP)  ## write the demo's golden values anew and show what moved
	$(BIN)/python -m pytest -q -m golden tests/golden --renew
	git --no-pager diff --stat -- tests/golden

image:  ## build the container image with whichever engine is here
	@if command -v docker >/dev/null && docker info >/dev/null 2>&1; then docker build -t hsimap .; \
	elif command -v podman >/dev/null; then podman build -t hsimap .; \
	elif command -v buildah >/dev/null; then buildah bud -t hsimap .; \
	else echo "make image: no docker, podman or buildah here"; exit 1; fi

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
