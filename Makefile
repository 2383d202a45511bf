# The front door. `make help` lists what it does; CONTRIBUTING.md says more.
#
# Cargo knows by itself what is out of date, so nothing here has files as targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# rustup's folder is in the PATH of a login shell, but not of every shell.
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO ?= cargo
export CARGO
TARGET := $(or $(CARGO_TARGET_DIR),target)
VERSION = $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)

# A static program needs its target named: procedural macros cannot be linked like that.
TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')

DESTDIR ?=
PREFIX ?= /usr/local

SCRIPTS := .ci/run $(wildcard demo/*.sh xtask/*.sh)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

.PHONY: setup
setup: ## install by apt what is missing; needs nothing but a Rust toolchain
	@xtask/setup.sh build demo lint test
	@command -v cargo-nextest >/dev/null || \
	  echo "setup: cargo-nextest is not here, tests will run under cargo test"
	@command -v cargo-deny >/dev/null || \
	  echo "setup: cargo-deny is not here, make lint will not check licences (cargo install --locked cargo-deny takes minutes, so it is left to you)"

.PHONY: build
build: ## the command, optimised: target/release/whaletap, and whaletap-agent beside it
	@xtask/setup.sh build
	$(CARGO) build --release --locked --package whaletap
	$(AGENT)

# The program of helper containers: alone in its image, so static, and by itself, so that no other
# package's features get into it. The command looks for it beside itself.
define AGENT
RUSTFLAGS="-C target-feature=+crt-static" \
  $(CARGO) build --profile agent --locked --package whaletap-agent --target $(TRIPLE)
@install -m 755 $(TARGET)/$(TRIPLE)/agent/whaletap-agent $(TARGET)/release/whaletap-agent
endef

.PHONY: demo
demo: ## two containers that talk, captured by name
	@xtask/setup.sh build demo
	$(CARGO) build --release --locked --package whaletap
	@mkdir -p $(TARGET)/demo
	@xtask/as-root.sh demo/demo.sh $(TARGET)/release/whaletap $(TARGET)/demo

# The lab sees to it that an engine runs, and stops what it started.
.PHONY: test
test: ## all tests, as root, with a real Docker engine
	@xtask/setup.sh build test
	$(CARGO) build --locked --workspace --all-targets
	@if command -v cargo-nextest >/dev/null; then \
	  run="nextest run --workspace"; \
	else \
	  run="test --workspace --no-fail-fast"; \
	fi; \
	xtask/as-root.sh $(TARGET)/debug/whaletap-lab engine -- $(CARGO) $$run --locked

.PHONY: lint
lint: ## formatting, clippy, documentation, layers, scripts, licences
	@xtask/setup.sh build lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(CARGO) xtask layers
	shellcheck $(SCRIPTS)
	@if command -v cargo-deny >/dev/null; then \
	  set -x; $(CARGO) deny --log-level error check licenses bans sources; \
	else \
	  echo "lint: cargo-deny is not here, licences and sources were not checked"; \
	fi

.PHONY: bench
bench: ## measure against tcpdump and dumpcap: docs/benchmarks.md
	@xtask/setup.sh build test
	$(CARGO) build --release --locked --package whaletap --package xtask
	@xtask/as-root.sh $(TARGET)/release/xtask bench

.PHONY: soak
soak: ## 2,000 containers come and go under one session: docs/benchmarks.md
	@xtask/setup.sh build test
	$(CARGO) build --release --locked --package whaletap --package xtask
	@xtask/as-root.sh $(TARGET)/release/xtask soak

# Installs what was built; as root for a PREFIX that is root's.
.PHONY: install
install: ## what `make build` made, below DESTDIR and PREFIX (/usr/local)
	@test -x $(TARGET)/release/whaletap -a -x $(TARGET)/release/whaletap-agent || { echo "install: make build comes first" >&2; exit 1; }
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(TARGET)/release/whaletap $(TARGET)/release/whaletap-agent
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/whaletap \
	  README.md GUIDE.md SECURITY.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT
	$(TARGET)/release/whaletap completion bash | \
	  install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/bash-completion/completions/whaletap
	$(TARGET)/release/whaletap completion zsh | \
	  install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_whaletap
	$(TARGET)/release/whaletap completion fish | \
	  install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/whaletap.fish
	mkdir -p $(DESTDIR)$(PREFIX)/share/man/man1
	$(TARGET)/release/whaletap man $(DESTDIR)$(PREFIX)/share/man/man1

# A tarball to be unpacked at /, the same bytes for the same commit and toolchain. The binary is
# linked with this machine's libc and libpcap: it runs on this release of the distribution and on
# later ones that still have that libpcap.
PACKAGE = whaletap-$(VERSION)-$(shell uname -m)-linux
.PHONY: package
package: build ## a tarball of what `make install` installs
	@rm -rf $(TARGET)/package/$(PACKAGE)
	@$(MAKE) --no-print-directory install DESTDIR=$(abspath $(TARGET))/package/$(PACKAGE)
	@tar -C $(TARGET)/package/$(PACKAGE) --sort=name --owner=0 --group=0 --numeric-owner \
	  --mtime="@$$(git log -1 --format=%ct)" -c . | gzip -n >$(TARGET)/package/$(PACKAGE).tar.gz
	@echo $(TARGET)/package/$(PACKAGE).tar.gz

.PHONY: clean
clean: ## everything that was built
	$(CARGO) clean
