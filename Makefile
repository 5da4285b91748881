# `make` alone lists the targets. Each step says with scripts/need what it needs; `make test` runs them all.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The pinned tools come before the machine's.
export PATH := $(CURDIR)/target/venv/bin:$(CURDIR)/target/tools:$(PATH)
BROWSER := tests/clients/browser
PROVIDERS := tests/clients/providers
LOAD := bench/load/Cargo.toml

.PHONY: help run test lint fmt clippy proto docs deny unit doctest clients helm openapi bench

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run the service from source, in the working directory
	cargo run --release --locked -- serve

test: ## Everything, on SQLite and PostgreSQL; installs what is missing when it is root
	@scripts/need cc cargo nginx openssl pgbouncer postgres promtool chromium tools helm
	@scripts/test fmt clippy proto docs deny unit doctest clients helm

lint: fmt clippy proto docs deny ## What needs no test run

fmt: ## Formatting of the Rust sources
	@scripts/need cargo
	cargo fmt --check
	cargo fmt --check --manifest-path $(LOAD)

clippy: ## Clippy, with warnings denied
	@scripts/need cargo cc
	cargo clippy --locked --all-targets -- -D warnings

proto: ## Style and formatting of the protos
	@scripts/need tools
	buf lint
	buf format --diff --exit-code

docs: ## The Rust documentation builds without warnings, and links in Markdown lead somewhere
	@scripts/need cargo cc tools
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
	rumdl check --no-cache --enable MD051,MD057 .

deny: ## Licences, sources and banned crates of the dependency tree
	@scripts/need cargo tools
	cargo deny --locked --log-level error check bans licenses sources

unit: ## Unit and integration tests, on both databases
	@scripts/need cargo cc openssl postgres tools
	scripts/with-postgres cargo nextest run --locked

doctest: ## The examples in the documentation
	@scripts/need cargo cc
	cargo test --locked --doc

# With --tests the dependencies' features are those of the test build, so that nothing is built twice.
clients: ## Clients that are not ours, from outside, on both databases
	@scripts/need cargo cc nginx openssl pgbouncer postgres chromium tools
	scripts/previous-version
	cargo build --locked --bin countersign --tests
	npm ci --silent --prefix $(BROWSER) --ignore-scripts
	npm ci --silent --prefix $(PROVIDERS) --ignore-scripts
	npm run --silent --prefix $(BROWSER) build
	scripts/with-postgres pytest --basetemp=target/pytest tests/clients

# Its tools are apart, in target/venv-helm: see tests/helm/requirements.txt.
helm: export PATH := $(CURDIR)/target/venv-helm/bin:$(PATH)
helm: ## The chart, rendered and checked, and what the image runs; UPDATE_GOLDEN=1 writes anew what it renders to
	@scripts/need cc cargo openssl postgres promtool tools helm
	cargo build --locked --bin countersign --tests
	scripts/with-postgres pytest --basetemp=target/pytest-helm tests/helm

bench: ## Measure the release build beside a bare echo; not part of `make test`, since it needs a quiet machine
	@scripts/need cargo cc python openssl postgres h2load
	cargo build --release --locked
	cargo clippy --release --locked --manifest-path $(LOAD) --target-dir target/bench -- -D warnings
	cargo build --release --locked --manifest-path $(LOAD) --target-dir target/bench
	scripts/with-postgres --durable bench/run.py $(BENCH)
	bench/enumeration.py target/release/countersign

openapi: ## Write docs/openapi.json anew
	UPDATE_OPENAPI=1 cargo test --locked --lib api::openapi
