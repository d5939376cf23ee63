# make demo   sets up and runs the main job          make test   sets up and passes the fast suite
PY     ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
             command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   ?= demo
SHELL  := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help install demo test slow faults lint format docs dist clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PY)" || { echo "genctl needs Python 3.11 or newer: install it, or name it with make PY=/path/to/python"; exit 69; }
	@test -x $(BIN)/python || $(PY) -m venv $(VENV)
	@echo "installing genctl and its pinned dependencies into $(VENV) (about a gigabyte, most of it torch) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(STAMP) ## set up .venv with genctl in it

demo: $(STAMP) ## train a VAE on digits, draw samples, score them: about two minutes on two cores
	@rm -rf $(DEMO)
	$(BIN)/genctl train configs/autoencoder/vae-digits.yaml --out $(DEMO)/run
	$(BIN)/genctl sample --ckpt $(DEMO)/run -n 100 --out $(DEMO)/samples
	$(BIN)/genctl eval --ckpt $(DEMO)/run --metric fid --out $(DEMO)/scores.json
	@echo
	@echo "made: $(DEMO)/run                       the run: its recipe, its journal, previews"
	@echo "      $$(ls -d $(DEMO)/run/checkpoints/step-* | tail -1)/model.safetensors   the checkpoint: all that sampling needs"
	@echo "      $(DEMO)/samples/grid.png          100 new digits, and each as a file"
	@echo "      $(DEMO)/scores.json               the scores, with the stamp of how they were made"

test: $(STAMP) ## the fast suite: at most five minutes on two cores
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

slow: $(STAMP) ## the rest of the tests: at most twenty-five minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

faults: $(STAMP) ## every row of the fault list, with a table of results
	$(BIN)/python -m tests.faults $(ARGS)

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP) ## let ruff format and fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(STAMP) ## write the generated parts: README tables, the schema of recipes
	$(BIN)/python -m tests.test_docs

dist: $(STAMP) ## build the wheel and the source archive
	$(BIN)/python -m pip install -q build
	$(BIN)/python -m build

clean: ## remove what the targets made, but not .venv
	rm -rf $(DEMO) dist build .pytest_cache .mypy_cache .ruff_cache .coverage
