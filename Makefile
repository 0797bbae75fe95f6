# Needs Python 3.11 with venv, make, and Go for what checks k8s/ and the chart. `make` alone lists the targets.

PYTHON         ?= python3.11
VENV           ?= .venv
PY             := $(VENV)/bin/python
STAMP          := $(VENV)/.installed
PYTEST_ARGS    ?=
# Test processes side by side. On two cores, more of them would only be in each other's way.
JOBS           ?= 2
BENCH          ?=
PEERS          := $(basename $(notdir $(wildcard tests/bench/peers/*.txt)))
UPGRADE        ?=
CONTAINER_TOOL ?= $(firstword $(notdir $(foreach tool,docker podman buildah,$(shell command -v $(tool) 2>/dev/null))) docker)
IMAGE_PREFIX   ?= sightline
VERSION        := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
REVISION       := $(shell git rev-parse --verify HEAD 2>/dev/null || echo unknown)$(shell \
                    test -z "$$(git status --porcelain 2>/dev/null)" || echo -dirty)
STAGES         := train serve-cpu serve-gpu rollout
# What k8s/ and the chart are checked with. An installed one may be named: make test HELM=helm KUBE_SCORE=kube-score
GO             ?= go
TOOLS          := build/tools
HELM           ?= $(TOOLS)/helm
KUBE_SCORE     ?= $(TOOLS)/kube-score
# Without kubectl, what it renders with is built.
RENDERER       := $(if $(shell command -v kubectl),,$(TOOLS)/kustomize)
BUILT          := $(filter $(TOOLS)/%,$(HELM) $(KUBE_SCORE)) $(RENDERER) $(TOOLS)/crds/.fetched
CLUSTER        := $(TOOLS)/kubernetes/.built $(TOOLS)/cluster/.fetched $(addprefix $(TOOLS)/,etcd kserve kwok)
SHELL_SCRIPTS  := .ci/run $(filter-out build/%,$(wildcard *.sh */*.sh */*/*.sh */*/*/*.sh))

# What is pinned has to run on the oldest system and Python that the project supports.
RESOLVE = $(VENV)/bin/uv pip compile --quiet --no-header --no-annotate \
          --no-emit-package sightline --python-version 3.11 \
          --python-platform x86_64-manylinux_2_28 $(if $(UPGRADE),--upgrade)

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z%-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Create .venv with everything pinned in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "$(PYTHON) is not a working Python 3.11. Install it (Debian 12: apt-get install python3.11)," >&2; \
	  echo "or say where it is: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create a virtual environment: it lacks ensurepip." >&2; \
	  echo "On Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 1; }
	test -x $(VENV)/bin/uv || { \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv; }
	$(VENV)/bin/uv pip install --compile-bytecode --python $(PY) --constraint constraints.txt \
	  --build-constraints constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: demo
demo: $(STAMP) ## Generate images, train, release, serve and ask once, on this machine
	$(PY) -m train demo

.PHONY: serve
serve: $(STAMP) ## The demo, with the server left up until interrupted
	$(PY) -m train demo --serve

# Version of a Go module, by what tests/tools builds with it.
pinned = $(shell sed -n 's|^[^=]*$1 v\([0-9.]*\)\( .*\)\?$$|\1|p' tests/tools/$2/go.mod)

# Without these flags helm would take the cluster for Kubernetes 1.20.
$(TOOLS)/helm: VERSIONS = -X helm.sh/helm/v3/internal/version.version=v$(call pinned,helm.sh/helm/v3,helm) \
  $(foreach package,chartutil lint/rules, \
    -X helm.sh/helm/v3/pkg/$(package).k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/$(package).k8sVersionMinor=$(word 2,$(subst ., ,$(call pinned,k8s.io/client-go,helm))))

.PHONY: tools
tools: $(BUILT) ## Build helm, kube-score and kustomize, and fetch the CRDs, as tests/tools pins them

$(TOOLS)/%: tests/tools/%/go.mod tests/tools/%/go.sum
	@command -v $(GO) >/dev/null || { \
	  echo "$* is built by Go, which is not installed. Install it (Debian 13: apt-get install golang-go; else" >&2; \
	  echo "https://go.dev/dl/). Or install kubectl for kustomize, and name what is installed of the others:" >&2; \
	  echo "make HELM=helm KUBE_SCORE=kube-score" >&2; exit 1; }
	@mkdir -p $(TOOLS)
	cd tests/tools/$* && CGO_ENABLED=0 $(GO) build -mod=readonly -buildvcs=false -trimpath \
	  -ldflags "-s -w $(VERSIONS)" -o $(CURDIR)/$@ tool

$(TOOLS)/%/.fetched: tests/tools/%.txt scripts/fetch-manifests.py | $(STAMP)
	$(PY) scripts/fetch-manifests.py --go $(GO) $< $(@D)
	@touch $@

# A control plane that does not know its own version is not believed by its clients.
KUBERNETES := $(call pinned,k8s.io/kubernetes,kubernetes)
KUBERNETES_FLAGS := $(foreach package,k8s.io/component-base/version k8s.io/client-go/pkg/version, \
  $(foreach pair,gitVersion=v$(KUBERNETES) gitMajor=1 gitMinor=$(word 2,$(subst ., ,$(KUBERNETES))) \
    gitTreeState=clean,-X $(package).$(pair)))

$(TOOLS)/kubernetes/.built: tests/tools/kubernetes/go.mod tests/tools/kubernetes/go.sum
	@mkdir -p $(@D)
	cd tests/tools/kubernetes && CGO_ENABLED=0 $(GO) build -mod=readonly -buildvcs=false -trimpath \
	  -ldflags "-s -w $(KUBERNETES_FLAGS)" -o $(CURDIR)/$(@D)/ tool
	@touch $@

$(TOOLS)/lego/.copied: scripts/slim-lego.py scripts/fetch-manifests.py | $(STAMP)
	$(PY) $< --go $(GO) $(@D)
	@touch $@

$(TOOLS)/traefik: $(TOOLS)/lego/.copied

.PHONY: cluster-tools
cluster-tools: $(CLUSTER) ## Build a Kubernetes control plane and KServe's controller, as tests/tools pins them

.PHONY: test
test: export SIGHTLINE_HELM := $(HELM)
test: export SIGHTLINE_KUBE_SCORE := $(KUBE_SCORE)
test: $(STAMP) $(BUILT) ## Every test that needs neither a cluster nor a quiet machine (JOBS=1 PYTEST_ARGS=...)
	$(PY) -m pytest -m "not cluster and not node and not bench" --numprocesses $(JOBS) --dist loadfile $(PYTEST_ARGS)

.PHONY: test-cluster
test-cluster: export SIGHTLINE_HELM := $(HELM)
test-cluster: $(STAMP) $(BUILT) $(CLUSTER) ## The tests on a real Kubernetes API with KServe's controller
	$(PY) -m pytest -m cluster tests/cluster $(PYTEST_ARGS)

ARCHIVES := $(addprefix build/images/,serve-cpu.tar rollout.tar pause.tar)

build/images/serve-cpu.tar build/images/rollout.tar: build/images/%.tar: Dockerfile constraints.txt \
  pyproject.toml $(shell find model predictor k8s/rollout -name '*.py')
	scripts/build-image.sh $* build/images/work $@

build/images/pause.tar: tests/tools/pause/main.go
	@mkdir -p build/images/work
	GO=$(GO) scripts/pause-image.sh build/images/work $@

.PHONY: test-node
test-node: export SIGHTLINE_HELM := $(abspath $(HELM))
test-node: $(STAMP) $(BUILT) $(CLUSTER) $(TOOLS)/traefik $(ARCHIVES) ## As root: rollouts on a real node, behind a real gateway
	scripts/test-node.sh $(abspath $(PY)) $(PYTEST_ARGS)

.PHONY: bench
bench: $(STAMP) ## The measurements, on a quiet machine, in half an hour (BENCH="throughput faults")
	$(if $(BENCH),,$(PY) -m pytest -m bench --capture=no --quiet tests/bench)
	$(PY) -m tests.bench.serving $(BENCH)

.PHONY: bench-train
bench-train: $(STAMP) ## The same of the trainer, in half an hour (BENCH="baseline overhead")
	$(PY) -m tests.bench.training $(BENCH)

.PHONY: bench-trackers
bench-trackers: $(STAMP) ## What MLflow, W&B and no tracker cost the same training
	$(PY) -m tests.bench.trackers $(BENCH)

.PHONY: bench-rollout
bench-rollout: $(STAMP) ## Thousands of simulated rollouts whose truth is known, in ten minutes
	$(PY) -m tests.bench.rollout $(BENCH)

.PHONY: bench-peers
bench-peers: $(STAMP) $(PEERS:%=build/peers/%/.installed) ## The same against more servers
	$(PY) -m tests.bench.serving peers

# The same runtime and decoder as ours; whatever else they want.
build/peers/%/.installed: tests/bench/peers/%.txt constraints.txt $(STAMP)
	@mkdir -p build/peers
	grep -E '^(numpy|onnxruntime|pillow)==' constraints.txt > build/peers/$*.same.txt
	$(VENV)/bin/uv venv --clear --quiet --python $(PY) build/peers/$*
	$(VENV)/bin/uv pip install --quiet --python build/peers/$*/bin/python \
	  --requirement $< --requirement build/peers/$*.same.txt
	@touch $@

.PHONY: lint lint-python lint-types lint-shell lint-yaml lint-docker lint-k8s lint-chart
lint: lint-python lint-types lint-shell lint-yaml lint-docker lint-k8s lint-chart ## All static checks

lint-python: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

lint-types: $(STAMP)
	$(VENV)/bin/mypy

lint-shell: $(STAMP)
	$(VENV)/bin/shellcheck $(SHELL_SCRIPTS)

lint-yaml: $(STAMP)
	$(VENV)/bin/yamllint --strict .

lint-docker: $(STAMP)
	$(VENV)/bin/hadolint Dockerfile

lint-k8s: $(filter $(TOOLS)/%,$(KUBE_SCORE)) $(RENDERER)
	scripts/lint-manifests.sh $(KUBE_SCORE) $(or $(RENDERER:%=% build),kubectl kustomize)

lint-chart: export SIGHTLINE_HELM := $(HELM)
lint-chart: export SIGHTLINE_KUBE_SCORE := $(KUBE_SCORE)
lint-chart: $(STAMP) $(BUILT)
	$(PY) scripts/chart-reference.py --check
	$(PY) -m scripts.dashboards --check
	$(PY) -m tests.helm.lint

.PHONY: chart-reference
chart-reference: $(STAMP) ## Put the comments of the chart's values into its README and schema
	$(PY) scripts/chart-reference.py

.PHONY: dashboards
dashboards: $(STAMP) ## Write the chart's Grafana dashboards
	$(PY) -m scripts.dashboards

.PHONY: draw-dashboards
draw-dashboards: export SIGHTLINE_HELM := $(HELM)
draw-dashboards: $(STAMP) $(BUILT) ## Draw them from a real Prometheus into build/dashboards, in three minutes
	$(PY) -m tests.monitoring.draw

.PHONY: format
format: $(STAMP) ## Rewrite the Python sources in the project's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: images image-train image-cpu image-gpu image-rollout
images: image-train image-cpu image-gpu image-rollout ## Build all images (CONTAINER_TOOL=docker|podman|buildah)

image-train: build-train ## Image of the training jobs
image-cpu: build-serve-cpu ## Image of the predictor on CPUs, without torch
image-gpu: build-serve-gpu ## Image of the predictor on GPUs
image-rollout: build-rollout ## Image of the canary analyst

.PHONY: $(STAGES:%=build-%)
$(STAGES:%=build-%): build-%:
	$(CONTAINER_TOOL) build --target $* --tag $(IMAGE_PREFIX)-$*:$(VERSION) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) .

.PHONY: constraints
constraints: $(STAMP) ## Resolve all extras anew into constraints.txt (UPGRADE=1 for the newest)
	@mkdir -p build/constraints
	cp constraints.txt build/constraints/cpu.txt
	cp constraints.txt build/constraints/gpu.txt
	$(RESOLVE) --extra dev pyproject.toml --output-file build/constraints/cpu.txt
	sed -n 's/^onnxruntime==/onnxruntime-gpu==/p' build/constraints/cpu.txt > build/constraints/same.txt
	$(RESOLVE) --extra serve --constraint build/constraints/cpu.txt \
	  --constraint build/constraints/same.txt pyproject.toml --output-file build/constraints/gpu.txt
	$(PY) scripts/merge-constraints.py build/constraints/cpu.txt build/constraints/gpu.txt \
	  > build/constraints/merged.txt
	mv build/constraints/merged.txt constraints.txt

.PHONY: clean distclean
clean: ## Remove what was built, not .venv
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## Remove .venv too
	rm -rf $(VENV)
