# Chaperone: every target a person needs. `make help` lists them.
SHELL := /bin/bash
NODE := node_modules/.bin/node
.DEFAULT_GOAL := help
# What Node compiled, types stripped, is kept for the next of some hundred processes.
export NODE_COMPILE_CACHE ?= $(CURDIR)/node_modules/.cache/compile

node_modules/.installed: package.json package-lock.json
	@scripts/require-node.sh
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

dist/.built: node_modules/.installed $(shell find crds contract policy proxy operator cli scripts/build.ts -name '*.ts' -o -name '*.yaml' 2>/dev/null)
	@$(NODE) scripts/build.ts
	@touch $@

.PHONY: help install build demo test check unit integration clients fuzz fuzz-tests fuzz-http regress bench cluster cluster-down e2e image format lint types golden chart

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: node_modules/.installed ## Install what the lock file names

build: dist/.built ## Bundle proxy, operator and CLI into dist/

demo: dist/.built ## The whole story in a minute: a real LangChain agent, a real PostgreSQL, nothing to set up
	@$(NODE) examples/demo/demo.ts

test: node_modules/.installed ## Everything this machine can run, naming what it had to leave out (CI=true leaves nothing out)
	@$(NODE) scripts/test.ts

check: node_modules/.installed ## Format, lint, types, generated files and unit tests: under a minute
	@$(NODE) scripts/check.ts

unit: node_modules/.installed ## Unit and property tests
	@PATH="$(CURDIR)/node_modules/.bin:$$PATH" npm run --silent test:unit

integration: dist/.built ## Tests with a real PostgreSQL, real TLS and real clients
	@PATH="$(CURDIR)/node_modules/.bin:$$PATH" npm run --silent test:integration

clients: node_modules/.installed ## Every driver, tool and HTTP client of docs/clients.md and docs/http-clients.md, straight and through the proxy
	@PATH="$(CURDIR)/node_modules/.bin:$$PATH" npm run --silent test:clients

fuzz: node_modules/.installed ## Random PostgreSQL sessions, direct and proxied, compared (FUZZ_SECONDS=60 FUZZ_SEED=… FUZZ_MODE=valid|hostile|denied)
	@$(NODE) test/fuzz/run.ts

fuzz-tests: node_modules/.installed ## The random searches among the integration tests, ten times as long (FUZZ_TIMES=10)
	@FUZZ_TIMES=$${FUZZ_TIMES:-10} $(NODE) --test --test-concurrency=2 $$(grep -l search-length.ts test/integration/*.test.ts)

fuzz-http: node_modules/.installed ## Random HTTP requests to the proxy, Node, Go and nginx, compared (FUZZ_SECONDS=60 FUZZ_SEED=…)
	@$(NODE) test/fuzz-http/run.ts

regress: node_modules/.installed ## PostgreSQL's own regression files, direct and proxied (Debian with apt and psql; about 4 minutes; a third of them is in test)
	@$(NODE) test/regress/run.ts

bench: dist/.built ## The table of numbers, each as a ratio against a peer in the same run
	@$(NODE) test/bench/run.ts

cluster: dist/.built ## A real one-node Kubernetes with the chart installed; prints KUBECONFIG (CLUSTER=kind where Docker runs)
	@$(NODE) test/cluster/up.ts --with-chaperone

cluster-down: node_modules/.installed ## Remove that cluster without a trace
	@$(NODE) test/cluster/down.ts

e2e: dist/.built ## The suites against that cluster
	@$(NODE) test/e2e/run.ts

image: dist/.built ## Build the container images
	@$(NODE) scripts/image.ts

format: node_modules/.installed ## Format the code
	@node_modules/.bin/oxfmt

lint: node_modules/.installed ## Lint with types
	@node_modules/.bin/oxlint --type-aware --deny-warnings

types: node_modules/.installed ## Type-check, and write the generated types
	@$(NODE) scripts/generate.ts && node_modules/.bin/tsc --noEmit

golden: node_modules/.installed ## Rewrite the golden files of injection, of the rules and of NetworkPolicies
	@GOLDEN=write $(NODE) --test operator/injection/golden.test.ts proxy/redirect/rules.test.ts operator/egress/network-policy.test.ts

chart: node_modules/.installed ## Lint and render the chart
	@$(NODE) scripts/chart.ts
