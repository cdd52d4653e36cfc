# Thin on purpose: what happens is in local/, and .ci/run calls nothing but these targets.
# Needs make and any python3; the virtual environments are made on first use (local/bootstrap.py).

PYTHON := .venv/bin/python
SAM := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam
export PYTHONPATH := layers/shared
# The AWS CLI knows both names, the SDK and sam only the second.
ifdef AWS_REGION
export AWS_DEFAULT_REGION := $(AWS_REGION)
endif

# A python3 may be missing or, with pyenv, be there and refuse.
define bootstrap
@for python in python3 python3.13 python3.12 python3.11 python /usr/bin/python3; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then exec $$python local/bootstrap.py $(1); fi; \
done; echo 'no python3 was found on PATH; install Python 3.13' >&2; exit 1
endef

# What is given on the command line reaches a recipe's shell in the environment, exactly as it was typed; the recipes say
# "$$NAME", so that neither make nor the shell reads anything into a value. (Unless it is overridden, make expands it.)
$(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name))))

# An option for a variable that is given, also if it is given and empty: a script with an unset variable is told so.
option = $(if $(filter undefined,$(origin $(1))),,$(2) "$$$(1)")
# An option for a variable that is 1.
flag = $(if $(filter-out 0 1,$(value $(1))),$(error $(1) is either 1 or not given, as in `make $@ $(1)=1`))$(if \
	$(filter 1,$(value $(1))),$(2))
# ARGS: more words for the command, in quotes where they need some; "$$@" in the recipes.
words = $(if $(value ARGS),words="$$($(PYTHON) local/words.py)" && eval "$$words" &&,set --;)
# The environment has a USER, too: who is logged in. An order that names nobody is not meant for that one.
named = $(filter override,$(origin USER))$(filter -h --help,$(value ARGS))
user = $(if $(named),,$(error for whom? Name the user on the command line, as in `make $@ USER=alice`. USER of the \
	environment, who is logged in here, does not count))-- "$$USER"
ORDER = "$$@" $(call option,REF,--ref) $(call option,REASON,--reason) $(call option,BY,--by)

.DEFAULT_GOAL := help
.PHONY: help run test check build deploy token invoke demo pay import openapi audit reconcile grant plan export \
	erase moderate sweep-texts bench bench-reset crash-matrix mutants soak soak-payments clean clean-state

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start the whole backend on this machine, in the foreground (PORT=3000 STATE_DIR=.local)
	$(call bootstrap,dev engine)
	@$(words) exec $(PYTHON) -m local.stack "$$@"

# A file is the work of one worker, which has a store, stand-ins and ports of its own; tests/schedule.py says what is first.
test: ## run the tests, a part of their repetitions unless CI=true (ARGS="-k ledger", ARGS="-n 0" for one process)
	$(call bootstrap,dev engine)
	@$(words) exec $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$$@"

check: ## lint, format, types, import rules, template
	$(call bootstrap,dev sam)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	@set -e; for app in functions/*/app.py; do echo "$(PYTHON) -m mypy $$app"; $(PYTHON) -m mypy "$$app"; done
	.venv/bin/lint-imports
	.venv/bin/cfn-lint template.yaml
	@echo 'sam validate --lint'; AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint --template template.yaml

build: ## build what is deployed (needs Python 3.13)
	$(call bootstrap,sam)
	@$(SAM) build

deploy: build ## deploy it to AWS (STACK=playground ARGS="--parameter-overrides AuthAlgorithm=RS256 ...")
	@$(words) $(SAM) deploy "$$@" $(call option,STACK,--stack-name)

token: ## print a token for a user (USER=alice DAYS=30)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.make_token "$$@" $(call option,DAYS,--days) $(user)

invoke: ## call one function of the running stack (FN=run EVENT=events/run/ok.json AT=time)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.invoke "$$@" $(call option,AT,--at) -- "$$FN" "$$EVENT"

demo: ## show the main job from end to end against the running stack
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m local.demo

pay: ## pay a purchase at the stand-in for Stripe (PURCHASE=pur_... CARD=visa)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.pay "$$@" $(call option,CARD,--card) -- "$$PURCHASE"

import: ## put a package into the catalogue of the running stack (PACKAGE=file NAME=@scope/name SCOPE=scope)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.import_package "$$@" $(call option,NAME,--name) $(call option,SCOPE,--scope) \
		$(call flag,FIT,--fit) $(call flag,ACKNOWLEDGE_HIDDEN,--acknowledge-hidden) -- "$$PACKAGE"

audit: ## check an account, or all, against its entries (USER=alice, or ALL=1)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.audit "$$@" $(call flag,ALL,--all) $(if $(named)$(filter-out 1,$(or $(value ALL),0)),$(user))

reconcile: ## compare what Stripe has with what we have (ALL=1 for everything, CLOSE=id when a person has dealt with it)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.reconcile "$$@" $(call flag,ALL,--all) $(call option,CLOSE,--close)

moderate: ## decide about shared conversations that were reported (DO=list, or DO=show|hide|restore|remove SHARE=id)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.moderate "$$@" -- "$${DO:-list}" $(call option,SHARE,)

sweep-texts: ## find texts in the content bucket that no turn names (DELETE=1 removes them)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.sweep_texts "$$@" $(call flag,DELETE,--delete)

grant: ## give credits, once per account and reference (USER=alice CREDITS=50 REASON="..." REF=ticket-123)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.grant $(ORDER) --credits "$$CREDITS" $(user)

plan: ## begin, prolong or end a plan (USER=acme PLAN=plus|free UNTIL=2027-12-31 REF=contract-7)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.plan $(ORDER) --plan "$$PLAN" $(call option,UNTIL,--until) $(user)

export: ## print everything that is kept of a user, as JSON (USER=alice)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.export "$$@" $(user)

erase: ## forget a user; the books stay under a pseudonym (USER=alice YES=1)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.erase "$$@" $(call flag,YES,--yes) $(user)

bench-reset: ## advance 10,000 due accounts through the queue, and print the rate (ARGS="--accounts 1000")
	$(call bootstrap,dev engine)
	@$(words) exec $(PYTHON) -m bench.reset "$$@"

bench: ## measure round trips, write units and latency under conflicts
	$(call bootstrap,dev engine)
	@$(words) exec $(PYTHON) -m bench "$$@"

crash-matrix: ## kill a worker at every step of every money path, and print what came of it
	$(call bootstrap,dev engine)
	@$(words) exec $(PYTHON) -m tests.kit.crash_matrix "$$@"

mutants: ## plant known bugs in copies of the code and see the tests catch them
	$(call bootstrap,dev engine)
	@$(words) exec $(PYTHON) -m tests.mutants "$$@"

soak: ## random workloads with random seeds (MINUTES=10)
	$(call bootstrap,dev engine)
	@$(words) exec $(PYTHON) -m tests.soak --minutes "$${MINUTES:-10}" "$$@"

soak-payments: ## lives of payments told in any order, with new seeds (LIVES=10000)
	$(call bootstrap,dev engine)
	@$(words) exec $(PYTHON) -m tests.soak_payments --lives "$${LIVES:-10000}" "$$@"

openapi: ## write the description of the API
	$(call bootstrap,dev)
	@exec $(PYTHON) -m local.openapi

clean: ## remove environments, builds and caches, but no data
	rm -rf .venv .venv-engine .venv-sam .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-state: ## remove the data of the laptop stack, if it is not running (STATE_DIR=.local)
	$(call bootstrap,dev)
	@$(words) exec $(PYTHON) -m local.clean_state "$$@"
