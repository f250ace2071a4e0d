# mlstack.kubernetes: everything a checkout can do. `make` alone lists the targets.
#
# Variables, all optional:
#   INVENTORY=path   inventory of `demo`, `remove` and `clean`   (inventories/local/hosts.ini)
#   ARGS="…"         further arguments for ansible-playbook, pytest or the benchmarks, e.g. ARGS="--tags registry --check"
#   CHARTS=path      directory with the charts that `upstream` tries, where they cannot be downloaded
#   MANIFESTS=path   Git repository with Kubeflow's manifests that `upstream` tries, where it cannot be reached
#   PYTHON=path      the Python (3.11 or newer) that .venv is made of   (python3)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

INVENTORY ?= inventories/local/hosts.ini
ARGS ?=
CHARTS ?=
MANIFESTS ?=
PYTHON ?= python3

# The tests have a stack of their own, so that they can run beside a demo.
TEST_INVENTORY := inventories/test/hosts.ini
TEST_CLUSTER := playbooks/ai.yaml --tags registry,local_cluster,training_operator
TEST_KUBECONFIG := /var/lib/mlstack-test/local_cluster/mlstack-test/admin.kubeconfig

VENV := .venv
BIN := $(VENV)/bin
# Most files of the package `ansible` are never used: Python compiles those that are when it first reads them.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile
# Their age says whether .venv is older than the requirements.
RUNTIME := $(VENV)/requirements.stamp
DEVELOPMENT := $(VENV)/requirements-dev.stamp
# A peer of the job modules wants another version of their Kubernetes client.
SDK_VENV := .cache/benchmarks/venv
SDK := $(SDK_VENV)/requirements.stamp
# What `make test` has no time for is marked so.
END_TO_END := -m "not extended"
# Compiled programs, downloads and images; the roles read it as `mlstack_cache`.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mlstack

# Ansible ignores an ansible.cfg in a directory that others may write to, unless it is named.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export LC_ALL := C.UTF-8
# Where it is set, every run of Ansible and of a module compiles all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

say = @printf '\n==> %s\n' "$(1)"

##@ Use

.PHONY: demo
demo: root $(RUNTIME) ## Set up a Kubernetes with the ML stack on this machine, train on it, verify
	$(call say,Running playbooks/ai.yaml on $(INVENTORY))
	$(BIN)/ansible-playbook -i $(INVENTORY) playbooks/ai.yaml $(ARGS)

.PHONY: remove
remove: root $(RUNTIME) ## Take away what `demo` set up; the checkout and the cache stay as they are
	$(call say,Running playbooks/remove.yaml on $(INVENTORY))
	$(BIN)/ansible-playbook -i $(INVENTORY) playbooks/remove.yaml $(ARGS)
	@if [ -e /var/lib/mlstack-test ]; then \
	  echo "==> Removing the stack of the tests, too"; \
	  $(BIN)/ansible-playbook -i $(TEST_INVENTORY) playbooks/remove.yaml; \
	fi

##@ Check

.PHONY: test
test: root unit lint molecule integration e2e ## All tests, those that fail fastest first

.PHONY: test-all
test-all: END_TO_END :=
test-all: test hosts ## `test`, the longer end-to-end tests, and the roles that set up hosts on test machines

.PHONY: unit
unit: $(DEVELOPMENT) ## Unit tests: seconds, no cluster
	$(call say,Unit tests)
	$(BIN)/python -m pytest -n auto tests/unit $(ARGS)

.PHONY: lint
lint: $(DEVELOPMENT) ## Linters of Python, spelling, YAML, changelog, Ansible and documentation; ansible-test sanity
	$(call say,ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(call say,mypy)
	$(BIN)/mypy
	$(call say,codespell)
	$(BIN)/codespell
	$(call say,yamllint)
	$(BIN)/yamllint --strict .
	$(call say,antsibull-changelog)
	$(BIN)/antsibull-changelog lint
	$(call say,ansible-lint)
	$(BIN)/ansible-lint --strict
	$(call say,antsibull-docs and ansible-test sanity on the built collection)
	$(BIN)/python tests/sanity/run.py

.PHONY: molecule
molecule: root $(DEVELOPMENT) ## A role from check mode on a fresh host to its removal, looked at by testinfra
	$(call say,Molecule)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/molecule test

.PHONY: hosts
hosts: root $(DEVELOPMENT) ## The roles that set up hosts, on containers with systemd that Ansible reaches by SSH
	$(call say,The role nvidia_driver on test machines)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/molecule test -s nvidia_driver
	$(call say,The role nvidia_container_toolkit on test machines)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/molecule test -s nvidia_container_toolkit
	$(call say,The role nfs_server on test machines)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/molecule test -s nfs_server
	$(call say,The role nfs_server on machines with kernels of their own)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/molecule test -s nfs_server_kernel
	$(call say,A cluster with simulated nodes for the tests)
	$(BIN)/ansible-playbook -i $(TEST_INVENTORY) $(TEST_CLUSTER)
	$(call say,Drain and reboot of a node by the role nvidia_driver)
	PATH="$(CURDIR)/$(BIN):$$PATH" MLSTACK_TEST_KUBECONFIG=$(TEST_KUBECONFIG) $(BIN)/molecule test -s nvidia_driver_node

.PHONY: integration
integration: root $(DEVELOPMENT) ## The modules against a real API server and operator, with simulated nodes
	$(call say,A cluster with both operators and simulated nodes for the tests)
	$(BIN)/ansible-playbook -i $(TEST_INVENTORY) $(TEST_CLUSTER),volcano
	$(call say,Integration tests)
	MLSTACK_TEST_KUBECONFIG=$(TEST_KUBECONFIG) $(BIN)/python -m pytest -n auto tests/integration $(ARGS)

.PHONY: upstream
upstream: root $(DEVELOPMENT) ## The real charts and manifests of the `upstream` supply, on simulated nodes
	$(call say,A cluster with simulated nodes for the tests)
	$(BIN)/ansible-playbook -i $(TEST_INVENTORY) $(TEST_CLUSTER)
	$(call say,The roles with the charts and manifests that they install)
	MLSTACK_TEST_CHARTS="$(CHARTS)" MLSTACK_TEST_MANIFESTS="$(MANIFESTS)" $(BIN)/python -m pytest tests/upstream $(ARGS)

.PHONY: e2e
e2e: root $(DEVELOPMENT) ## The demo itself and its second run, with real containers
	$(call say,End-to-end tests)
	$(BIN)/python -m pytest $(END_TO_END) tests/e2e $(ARGS)

.PHONY: e2e-all
e2e-all: END_TO_END :=
e2e-all: e2e ## `e2e`, and the end-to-end tests that `test` leaves out

.PHONY: bench
bench: root $(DEVELOPMENT) $(SDK) ## The job modules side by side with their peers; writes docs/benchmarks.md
	$(call say,A cluster with the training operator and simulated nodes for the benchmarks)
	$(BIN)/ansible-playbook -i $(TEST_INVENTORY) $(TEST_CLUSTER)
	$(call say,Benchmarks; all of them take about an hour)
	$(BIN)/python -m benchmarks --kubeconfig $(TEST_KUBECONFIG) $(ARGS)

.PHONY: bench-hosts
bench-hosts: root $(DEVELOPMENT) ## Second runs of the roles for hosts, on up to 30 test machines; writes docs/benchmarks-hosts.md
	$(call say,Benchmarks of the roles for hosts)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks.hosts $(ARGS)

.PHONY: bench-stack
bench-stack: root $(DEVELOPMENT) ## Unchanged runs of the whole stack, and where their time goes; writes docs/benchmarks-stack.md
	$(call say,Benchmark of the stack; it takes about ten minutes)
	$(BIN)/python -m benchmarks.stack $(ARGS)

##@ Release

.PHONY: build
build: $(RUNTIME) ## The collection as a tarball in dist/
	$(call say,Building the collection)
	$(BIN)/ansible-galaxy collection build --force --output-path dist

##@ Tidy

.PHONY: clean
clean: remove ## `remove`, and everything that make made in this checkout
	$(call say,Removing what make made in $(CURDIR))
	rm -rf $(VENV) dist .ansible .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/output changelogs/.plugin-cache.yaml
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## `clean`, and the cache of compiled programs, downloads and images
	$(call say,Removing $(CACHE))
	rm -rf "$(CACHE)"

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { split($$1, target, ":"); printf "  make %-12s %s\n", target[1], $$2 }' Makefile

# What the above stand on.

.PHONY: root
root:
	@if [ "$$(id -u)" != 0 ]; then \
	  echo "This target sets up a Kubernetes on this machine and needs root. Run it as: sudo make $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	fi

$(RUNTIME): requirements.txt meta/ee-requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). On Debian: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Name another by: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(call say,Installing requirements.txt into $(VENV))
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	@touch $@

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME)
	$(call say,Installing requirements-dev.txt into $(VENV))
	$(PIP) -r requirements-dev.txt
	@touch $@

$(SDK): benchmarks/requirements.txt
	$(call say,Installing benchmarks/requirements.txt into $(SDK_VENV))
	$(PYTHON) -m venv $(SDK_VENV)
	$(SDK_VENV)/bin/python -m pip install --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@
