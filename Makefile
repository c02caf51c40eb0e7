# The habits of working here; scripts/check is what does them, and CI's command.
.DEFAULT_GOAL := help
.PHONY: help check test clients contract fmt clippy doc proto-lint proto-baseline chart run tour image package clean-tools

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "%-15s %s\n", $$1, $$2 }'

check: ## everything that CI does
	@scripts/check

test: ## all tests, on SQLite and on a PostgreSQL of their own
	@scripts/check test

clients: ## build the clients in other languages, and run their tests
	@scripts/check clients

fmt: ## format the code
	@cargo fmt --all

clippy: ## lint the code, warnings denied
	@scripts/check clippy

doc: ## build the documentation, warnings denied
	@scripts/check doc

proto-lint: ## lint the contract and compare it with its baseline
	@scripts/check proto

proto-baseline: ## make the contract as it is the baseline: a release's step
	@"$$(scripts/install-buf)" build --exclude-source-info --output proto/baseline.binpb

chart: ## check the chart, its alerts and its dashboard
	@scripts/check chart

run: ## serve from ./data, on the default ports
	@cargo run --release --locked -- serve

tour: ## execute the README's tour as written
	@scripts/check tour

image: ## build the image with buildah, as root
	@scripts/image

package: ## make the archive for hosts, and the bill of materials, in target/dist
	@scripts/package target/dist
	@scripts/sbom target/dist

contract: ## make the contract's archive and descriptor set, in target/dist
	@scripts/contract target/dist

clean-tools: ## remove what scripts/ installed under target/tools
	@rm -rf target/tools
