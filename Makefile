# One line per target; `make help` lists them. Every target installs the packages it needs first.

TOOL = cargo run --quiet --package gabion-image --
PART ?=
CUTS ?= 8

.DEFAULT_GOAL := help
.PHONY: help run test bench powercuts image kernel demo size surface reproducible book trial check packages clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: packages ## boot the demo in QEMU; Ctrl-C switches the device off
	@$(TOOL) run

test: packages ## every test, those in QEMU included; ends with the totals
	@.ci/test

bench: packages ## measure against other systems; PART=name for one part
	@image/install-packages.sh image/packages-bench.txt
	@cargo run --quiet --release --package gabion-bench -- $(PART)

powercuts: packages ## cut the power at every flush of both kinds of update; boot some of what is left
	@GABION_CUTS=$(CUTS) cargo test --quiet --package gabion-device-test --test device -- --ignored --nocapture --test-threads=1 powercuts::

image: packages ## build kernel, root image and app store
	@$(TOOL) image

kernel: packages ## build the kernel alone (kept by configuration)
	@$(TOOL) kernel

demo: packages ## pack the demo's apps from Debian packages
	@$(TOOL) demo

surface: packages ## count the syscalls that boxes reach, beside other systems' usual filters
	@image/install-packages.sh image/packages-surface.txt
	@$(TOOL) surface

size: packages ## sizes of kernel and images against their bars
	@$(TOOL) size

reproducible: packages ## build the images twice in different places and compare
	@$(TOOL) reproducible

book: packages ## make the book of docs/ in target/book/html, and follow its links
	@cargo run --quiet --package gabion-docs-test -- book

trial: packages ## do what the README says as a new user would, timed, and write docs/trial.md
	@GABION_TRIAL=1 GABION_PAGE=README.md cargo test --quiet --package gabion-docs-test --test run -- beside_a_device

check: ## formatting and lints
	@cargo fmt --all --check && cargo clippy --quiet --workspace --all-targets -- -D warnings

packages: ## install the Debian packages of image/packages.txt that are missing
	@image/install-packages.sh

clean: ## remove everything built here (kernels and Debian packages stay in ~/.cache/gabion)
	@cargo clean
