# Needs Python 3.11 or 3.12 and make, nothing else. `make` lists the targets.
PYTHON ?=
PYTEST_ARGS ?=
LOCK_ARGS ?=

VENV := .venv
THEIRS := .venv-benchmarks
AGAINST := benchmarks/pytorch.py
ELSEWHERE := $(AGAINST) benchmarks/on_gpu.py
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-input
FAST := not slow and not tpu and not gpu and not gpu_compiler
# Fast tests compile much and run little; so compiled, programs are slow and the same.
# Eight devices on two busy cores may wait long for each other.
HASTE := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true \
  --xla_cpu_use_fusion_emitters=false \
  --xla_cpu_collective_call_terminate_timeout_seconds=600

# libtpu, the TPU compiler, is published for Linux x86-64 only.
ifeq ($(shell uname -sm),Linux x86_64)
SLOW_VENV := venv-tpu
SLOW := slow or tpu
else
SLOW_VENV := venv
SLOW := slow and not tpu
endif

.PHONY: help venv venv-tpu venv-gpu venv-benchmarks demo test test-slow test-gpu \
  test-on-gpu check proof proof-pytorch lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-15s %s\n", $$1, $$2}' Makefile

venv: $(VENV)/.project ## .venv from the hashed lock (PYTHON=... names the interpreter)

venv-tpu: $(VENV)/.tpu ## the same .venv with the TPU compiler (Linux x86-64)

venv-gpu: $(VENV)/.gpu ## the same .venv with the GPU compiler (Linux)

venv-benchmarks: $(THEIRS)/.locked ## PyTorch and diffusers, in .venv-benchmarks: 5.5 GB

demo: venv ## real clips in; a trained tiny model, sampled video and an FVD out
	$(RUN) -m dit_jax.demo --output runs/demo

test: venv ## fast tests
	XLA_FLAGS="$(HASTE)" $(RUN) -m pytest -n 2 --dist loadfile -m "$(FAST)" $(PYTEST_ARGS)

test-slow: $(SLOW_VENV) ## slow tests and compiling for TPU topologies
	$(RUN) -m pytest -m "$(SLOW)" $(PYTEST_ARGS)

test-gpu: venv-gpu ## compiling for GPUs that are not here
	$(RUN) -m pytest -m gpu_compiler $(PYTEST_ARGS)

test-on-gpu: ## on an NVIDIA GPU, by a PYTHON that has pip install '.[cuda,dev]'
	JAX_PLATFORMS=cuda,cpu $(or $(PYTHON),python3) -m pytest -m gpu $(PYTEST_ARGS)

check: venv ## format, lint, types, import direction
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest -q tests/test_imports.py

proof: $(SLOW_VENV) ## long evidence: the scripts of benchmarks/
	@set -e; for script in $(filter-out $(ELSEWHERE),$(sort $(wildcard benchmarks/*.py))); do \
	  echo "== $$script"; $(RUN) $$script; \
	done

proof-pytorch: venv venv-benchmarks ## our train step against PyTorch's
	$(RUN) $(AGAINST)

# Universal resolution by uv from the ranges in *.in; pins stay unless LOCK_ARGS says
# --upgrade. Only this target needs uv.
lock: ## write requirements/*.txt anew (LOCK_ARGS=--upgrade for newer versions)
	@$(find_python); "$$python" -m venv build/lock
	@build/lock/bin/python -m pip install --quiet uv
	@set -e; cd requirements; compile() { \
	  ../build/lock/bin/uv pip compile --quiet --universal --generate-hashes \
	    --fork-strategy fewest --custom-compile-command "make lock" $(LOCK_ARGS) "$$@"; \
	}; for lane in 11 12; do \
	  compile --python-version 3.$$lane core.in dev.in build.in -o py3$$lane.txt; \
	  compile --python-version 3.$$lane tpu.in -c py3$$lane.txt -o tpu-py3$$lane.txt; \
	  sed -n 's/^jax==\([^ ]*\).*/jax-cuda12-plugin==\1/p; s/^\(jax-cuda12-\)plugin/\1pjrt/p' \
	    py3$$lane.txt \
	  | compile --no-deps --python-version 3.$$lane - gpu.in -o gpu-py3$$lane.txt; \
	done; compile --no-deps --python-version 3.11 demo.in fvd.in text.in \
	  -o holders.txt; \
	compile --python-version 3.11 benchmarks.in -o benchmarks.txt

clean: ## remove .venv*, builds and caches; runs/ stays
	rm -rf $(VENV) $(THEIRS) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets $python to the first candidate that fits, or says in one sentence what is missing.
CANDIDATES = $(or $(PYTHON),python3 python3.12 python3.11)
define find_python
python=; found=; for candidate in $(CANDIDATES); do \
  version=$$($$candidate -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
    2>/dev/null) || continue; \
  case $$version in \
    3.11|3.12) python=$$candidate; break;; \
    *) found="$$found $$version ($$candidate)";; \
  esac; \
done; \
if [ -z "$$python" ]; then \
  echo "error: dit_jax needs Python 3.11 or 3.12 and found$${found:- none}; install one" \
    "of them or name it: make venv PYTHON=/path/to/python3.12" >&2; \
  exit 1; \
fi
endef

# Made from nothing whenever a lock changes, so that no stale package stays behind. The
# holders come without dependencies; two of them are built from source, by the locked
# back ends and without a network.
LOCKS := $(wildcard requirements/py3*.txt) requirements/holders.txt
$(VENV)/.locked: $(LOCKS)
	@$(find_python); echo "making $(VENV) with $$python: a minute or two, 1.3 GB"; \
	"$$python" -m venv --clear $(VENV)
	@$(PIP) --require-hashes -r requirements/$(LANE).txt
	@$(PIP) --require-hashes --no-deps --no-build-isolation --use-pep517 \
	  -r requirements/holders.txt
	@touch $@

$(VENV)/.project: $(VENV)/.locked setup.py pyproject.toml $(wildcard requirements/*.in)
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.tpu: $(VENV)/.project $(wildcard requirements/tpu-*.txt)
	@echo "adding the TPU compiler to $(VENV): 140 MB to download"
	@$(PIP) --require-hashes -r requirements/tpu-$(LANE).txt
	@touch $@

# The compiler, of the same release as jax, without CUDA: nothing can run.
$(VENV)/.gpu: $(VENV)/.project $(wildcard requirements/gpu-*.txt)
	@echo "adding the GPU compiler to $(VENV): 900 MB to download, 1.6 GB on disk"
	@$(PIP) --require-hashes --no-deps -r requirements/gpu-$(LANE).txt
	@echo "where there is no GPU, start programs with JAX_PLATFORMS=cpu from now on"
	@touch $@

# An environment of its own, so that nothing of ours can come to need PyTorch.
$(THEIRS)/.locked: requirements/benchmarks.txt
	@$(find_python); echo "making $(THEIRS): some minutes, 3 GB to download"; \
	"$$python" -m venv --clear $(THEIRS)
	@$(THEIRS)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-input --require-hashes -r requirements/benchmarks.txt
	@touch $@

LANE = $$($(RUN) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
