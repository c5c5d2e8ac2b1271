# Two commands from a fresh clone: `make bench METHOD=dive PRIOR=limited` and `make test`.
# Each target finds a Python, creates .venv with plain pip and installs what it needs, once.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # one pip at a time
.PHONY: help bench sweep status tables page figures track speed ls test test-slow test-portable lint format clean FORCE

# Values reach the shell as environment variables in double quotes, raw ($(value …)): nothing in them is ever executed.
VALUES := METHOD PRIOR TARGETS SUITE SEEDS DRAWS SEED DRAW RECIPE EPOCHS BACKBONE WEIGHTS GPUS ARGS ELPV PYTHON
define raw
override $(1) := $$(value $(1))
export $(1)
endef
$(foreach name,$(VALUES),$(eval $(call raw,$(name))))
override ELPV := $(or $(ELPV),1)

# SEED=1 asks for one just as well.
override SEEDS := $(or $(SEEDS),$(SEED))
override DRAWS := $(or $(DRAWS),$(DRAW))

ifneq ($(filter sweep status,$(MAKECMDGOALS)),)
$(if $(RECIPE),,$(error make $(MAKECMDGOALS) needs RECIPE, as in: make $(MAKECMDGOALS) RECIPE=demo))
endif
ifneq ($(filter bench,$(MAKECMDGOALS)),)
$(if $(and $(METHOD),$(PRIOR)),,$(error make bench needs METHOD and PRIOR, as in: make bench METHOD=dive PRIOR=limited))
endif

export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := .venv/bin/python -m pip install -q --no-input -c constraints.txt
BENCH := .venv/bin/zsad-bench bench
PYTEST := .venv/bin/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile
ELPV_READY := $(if $(filter-out 0,$(ELPV)),.venv/.installed-elpv)
# Several GPUs need Ray: nvidia-smi is asked, unless GPUS=1 or CUDA_VISIBLE_DEVICES leaves one.
SEVERAL := $(if $(filter bench sweep,$(MAKECMDGOALS)),$(if $(filter 1,$(GPUS)),,$(shell \
  case "$${CUDA_VISIBLE_DEVICES-,}" in (*,*) [ "$$(nvidia-smi -L 2>/dev/null | grep -c ^GPU)" -gt 1 ] && echo yes;; esac)))
CLUSTER_READY := $(if $(SEVERAL),.venv/.installed-cluster)

help: ## list the targets (the default)
	@awk -F ' *## *' '/^[a-z-]+:.*##/ { split($$1, target, ":"); printf "  make %-13s %s\n", target[1], $$2 }' Makefile
	@echo
	@echo '  make bench METHOD=clip,dive PRIOR=limited [TARGETS=…] [SUITE=auto|demo|paper] [SEEDS=0,1] [DRAWS=0,1]'
	@echo '             [EPOCHS=N] [BACKBONE=…] [WEIGHTS=file] [GPUS=N] [ARGS="--set key=value"] [ELPV=0]'
	@echo '  ELPV=0 leaves the photographs of solar cells out (CC BY-NC-SA 4.0); PYTHON=… names the Python to use.'

bench: .venv/.installed $(ELPV_READY) $(CLUSTER_READY) ## train and test METHOD under PRIOR, print the tables, update leaderboards/
	@set -f; exec $(BENCH) --method="$$METHOD" --prior="$$PRIOR" \
	  $${SUITE:+"--suite=$$SUITE"} $${TARGETS:+"--targets=$$TARGETS"} $${SEEDS:+"--seed=$$SEEDS"} $${DRAWS:+"--draw=$$DRAWS"} \
	  $${EPOCHS:+"--epochs=$$EPOCHS"} $${BACKBONE:+"--backbone=$$BACKBONE"} $${WEIGHTS:+"--weights=$$WEIGHTS"} \
	  $${GPUS:+"--gpus=$$GPUS"} $$ARGS

sweep: .venv/.installed $(ELPV_READY) $(CLUSTER_READY) ## compute what RECIPE (benchmarks/recipes) still lacks, and its tables
	@set -f; exec .venv/bin/zsad-bench sweep "$$RECIPE" $${GPUS:+"--gpus=$$GPUS"} $$ARGS

status: .venv/.installed ## how the sweep of RECIPE stands
	@set -f; exec .venv/bin/zsad-bench status "$$RECIPE" $$ARGS

tables: .venv/.installed ## write the papers' tables, claims and status from the rows into tables/
	@set -f; .venv/bin/zsad-bench table paper all $$ARGS >/dev/null \
	  && .venv/bin/zsad-bench table claims $$ARGS && exec .venv/bin/zsad-bench table status $$ARGS

page: .venv/.installed ## write the leaderboard of SUITE (demo) as one HTML file: leaderboards/SUITE/index.html
	@set -f; exec .venv/bin/zsad-bench page "$${SUITE:-demo}" $$ARGS

track: .venv/.installed ## push the rows of SUITE (demo) to wandb; ARGS=--offline writes files
	@set -f; exec .venv/bin/zsad-bench track sync "$${SUITE:-demo}" $$ARGS

figures: .venv/.installed ## draw every figure that rows, pictures and checkpoints allow into figures/
	@set -f; exec .venv/bin/zsad-bench figure all $$ARGS

speed: .venv/.installed-dev ## measure all of benchmarks/speed and write docs/speed.md; ARGS="--only NAME" for one
	@set -f; exec .venv/bin/python benchmarks/speed/suite.py $$ARGS

ls: .venv/.installed ## list methods, datasets, priors, protocols
	@for what in methods datasets priors protocols; do echo "$$what"; .venv/bin/zsad-bench ls $$what; echo; done

test: lint $(ELPV_READY) ## lint, then every test but the slow ones
	@set -f; $(PYTEST) $$ARGS

test-slow: .venv/.installed-dev $(ELPV_READY) ## the slow tests
	@set -f; $(PYTEST) -m slow $$ARGS || [ $$? -eq 5 ] # 5: none is collected

# The rooms that compute, with the kernels that every processor has: an expectation that only holds here shows there.
test-portable: .venv/.installed-dev ## the numeric tests again, without this processor's vector units
	@set -f; ATEN_CPU_CAPABILITY=default $(PYTEST) tests/methods tests/backbones tests/metrics tests/golden $$ARGS

lint: .venv/.installed-dev ## look for errors and style with ruff, for wrong types with mypy
	@.venv/bin/ruff check -q . && .venv/bin/ruff format -q --check . || { echo 'fix it with: make format' >&2; exit 1; }
	@.venv/bin/mypy --no-error-summary

format: .venv/.installed-dev ## fix what ruff can fix
	@.venv/bin/ruff check -q --fix . ; .venv/bin/ruff format -q .

clean: ## remove .venv, build products and caches; runs/ and leaderboards/ stay
	@rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find zsad_bench tests benchmarks -type d -name __pycache__ -exec rm -rf {} +

# The environment. `.venv/.installed` names the folder it was made in, and `.venv/.busy` stands while pip works: one that
# was moved, lost its Python or was left half-installed is built anew instead of being taken for whole.
WHOLE := [ ! -e .venv/.busy ] && [ "$$(cat .venv/.installed 2>/dev/null)" = "$$(pwd -P)" ] \
  && .venv/bin/python -c '' 2>/dev/null

# The first usable Python: new enough, and able to make an environment. Each is run, not only looked up, so a version
# manager's stub for a version that is not there is passed over. PYTHON=… is the only one tried if it is given.
define FIND_PYTHON
set -- python3.13 python3.12 python3.11 python3 python; [ -z "$$PYTHON" ] || set -- "$$PYTHON"; \
for python; do \
  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
done; \
[ -n "$$python" ] || { echo "no usable Python >= 3.11 (with venv and pip) among: $$*; install one (on Debian with" \
  "python3-venv), or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
endef

# $(call INSTALL,extra): pip, then the stamp. A failure that left the environment in order (no network, say) keeps it.
comma := ,
define INSTALL
trap 'exit 130' INT TERM; touch .venv/.busy; \
$(PIP) -e '.$(1)' && pwd -P > $@; status=$$?; \
if [ $$status -eq 0 ] || .venv/bin/python -m pip check >/dev/null 2>&1; then rm .venv/.busy; fi; exit $$status
endef

.venv/.installed: pyproject.toml constraints.txt $(shell $(WHOLE) || echo FORCE)
	@{ $(WHOLE); } || { $(FIND_PYTHON); rm -rf .venv && "$$python" -m venv .venv; } || exit; \
	echo "installing zsad-bench and its dependencies into .venv (about 6 GB, some minutes)"; $(call INSTALL,[fast$(comma)figures])

.venv/.installed-dev: .venv/.installed
	@echo "installing the test tools into .venv"; $(call INSTALL,[dev])

.venv/.installed-cluster: .venv/.installed
	@echo "several GPUs: installing Ray into .venv; GPUS=1 does without"; $(call INSTALL,[cluster])

.venv/.installed-elpv: .venv/.installed
	@echo "ELPV images: CC BY-NC-SA 4.0 (non-commercial, share-alike); ELPV=0 leaves them out"; $(call INSTALL,[elpv])
