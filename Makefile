# Needs Python 3.11 or later with venv, and make. Everything is installed into .venv, at the versions
# in constraints.txt. `make demo PYTHON=/path/to/python3` picks the interpreter.

usable = $(1) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for p in python3.11 python3; do $(call usable,$$p) && echo $$p && break; done)
BIN := .venv/bin
WORKERS ?= 2

.PHONY: demo test bench docs studies clean

demo: .venv/.demo
	$(BIN)/relprop demo

test: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS)

docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The Vision Transformer comes from a package of the dev extra. BENCH="--only times --networks vgg16"
# narrows it; `python -m bench --help` says how.
bench: .venv/.dev .cache/rivals/.done
	$(BIN)/python -m bench $(BENCH)

studies: .venv/.dev
	for model in lenet5 mlp-relu mlp-tanh; do $(BIN)/python -m studies.train_mnist $$model || exit 1; done
	$(BIN)/python -m studies.train_cifar10
	$(BIN)/python -m studies.train_cifar10 --lrn
	for study in $(filter-out train_%,$(basename $(notdir $(wildcard studies/*.py)))); do \
	    $(BIN)/python -m studies.$$study || exit 1; done
	$(BIN)/pytest -q -m study || test $$? -eq 5  # 5: no test is marked so

clean:
	rm -rf .venv .cache build site relprop-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "relprop needs Python 3.11 or later with the venv module" \
	    "(on Debian: python3-venv); name it with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo]'
	@touch $@

# dev contains demo, so that its stamp stands for both.
.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch .venv/.demo $@

# The tools measured beside ours live in a folder of their own: no dependency of relprop.
.cache/rivals/.done: bench/rivals.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .cache/rivals -r bench/rivals.txt
	@touch $@
