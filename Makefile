# Thin on purpose: what happens is in local/, and .ci/run calls nothing but these targets.
# Needs make and any python3; the virtual environments are made on first use (tools/bootstrap.py).

PYTHON := .venv/bin/python
SAM := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam
# On the functions' version of Python: compiled files are part of the build.
SLIM := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" python3.13 -m tools.slim
BUILD_DIR = .aws-sam/build
DEPLOY_OPTIONS = $(ARGS) $(if $(STACK),--stack-name $(STACK))
export PYTHONPATH := layers/shared
# Empty: compiled files are kept, also where the environment says otherwise. Each worker of the tests would compile them.
export PYTHONDONTWRITEBYTECODE :=
# The AWS CLI knows both names, the SDK and sam only the second.
ifdef AWS_REGION
export AWS_DEFAULT_REGION := $(AWS_REGION)
endif

# A python3 may be missing or, with pyenv, be there and refuse.
define any_python
@for python in python3 python3.13 python3.12 python3.11 python /usr/bin/python3; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then exec $$python $(1); fi; \
done; echo 'no python3 was found on PATH; install Python 3.13' >&2; exit 1
endef
bootstrap = $(call any_python,tools/bootstrap.py $(1))

.DEFAULT_GOAL := help
.PHONY: help run web web-test browser screenshots demo token import audit reconcile guard test coverage check security fix bench bench-streams bench-cold bench-warm bench-reset load capacity simulate-reset \
	bench-settle crash-matrix mutants soak soak-payments openapi lock build deploy environment clean clean-state

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'ARGS="..." passes more words to a command. ./playground --help: what operators do.'

run: ## start the whole backend on this machine, in the foreground (PORT=3000 STATE_DIR=.local)
	$(call bootstrap,run engine)
	@$(PYTHON) -m tools.web --optional
	@exec $(PYTHON) -m local.stack $(ARGS)

web: ## build the page (needs Node.js 20.19 or PyPI's); make run does it, too
	$(call any_python,-m tools.web $(ARGS))

web-test: ## check the page's types and run its unit tests
	$(call any_python,-m tools.web check)
	$(call any_python,-m tools.web test)

browser: ## install Chromium for tests/browser, if there is no browser
	$(call bootstrap,dev)
	@exec $(PYTHON) -m tools.browser

screenshots: ## keep a picture of every view of the page in .screenshots/ (phone and desktop, light and dark)
	$(call bootstrap,dev engine)
	@SCREENSHOTS=.screenshots exec $(PYTHON) -m pytest tests/browser/test_views.py -q $(ARGS)

demo: ## show the main job from end to end against the running stack
	$(call bootstrap,run engine)
	@exec $(PYTHON) -m local.demo

token: ## print a token for a user of the running stack (USER=alice), as ./playground token does
	$(if $(filter command line,$(origin USER)),,$(error name the user, as in `make token USER=alice`))
	@exec ./playground token '$(USER)' $(ARGS)

import: ## put a package into the running stack's catalogue (PACKAGE=file), as ./playground import does
	$(if $(PACKAGE),,$(error name the package, as in `make import PACKAGE=review-1.0.2.tar.gz`))
	@exec ./playground import '$(PACKAGE)' $(ARGS)

audit: ## audit every account of the running stack, as ./playground audit --all does
	@exec ./playground audit --all $(ARGS)

reconcile: ## compare the running stack with its Stripe, as ./playground reconcile does
	@exec ./playground reconcile $(ARGS)

guard: ## show what Claude costs on the running stack, as ./playground guard does (ARGS="lift", ARGS="ceiling 20")
	@exec ./playground guard $(ARGS)

# A file is the work of one worker, which has a store, stand-ins and ports of its own; tests/schedule.py says what is first.
test: ## run the tests, a part of their repetitions unless CI=true (ARGS="-k ledger", ARGS="-n 0" for one process)
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: ## run the tests and list the lines that none of them runs; docs/coverage.md says why (ARGS="tests/unit")
	$(call bootstrap,dev engine)
	@rm -rf .coverage; mkdir .coverage
	$(PYTHON) -m coverage run -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)
	@$(PYTHON) -m coverage combine --quiet; $(PYTHON) -m coverage report

check: ## lint, format, types, import rules, routes, template
	$(call bootstrap,dev)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) -m tools.check_prices
	$(PYTHON) -m tools.check_routes
	$(PYTHON) -m tools.openapi --check
	$(PYTHON) -m tools.dashboard --check
	.venv/bin/cfn-lint template.yaml
	$(call bootstrap,sam)
	@echo 'sam validate --lint'; AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint --template template.yaml

security: ## look for secrets in files, vulnerable packages, and weak settings of the template
	$(call bootstrap,dev security)
	$(PYTHON) -m tools.security $(ARGS)

fix: ## mend what linter and formatter can mend
	$(call bootstrap,dev)
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: ## measure round trips, write units and latency under conflicts; then streams
	$(call bootstrap,dev engine)
	@$(PYTHON) -m bench $(ARGS)
	@exec $(PYTHON) -m bench.streams

bench-settle: ## measure settlements of one account at the same moment, in virtual time (ARGS="--rounds 10")
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m bench.settle $(ARGS)

bench-streams: ## measure what a stream adds to Claude's, against targets (LITELLM=/path/to/its/venv ARGS="--short 20 --long 3")
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m bench.streams $(if $(LITELLM),--litellm $(LITELLM)) $(ARGS)

bench-cold: ## measure starts of what is built, against a usual handler (ARGS="--rounds 9 --only run credits")
	$(call bootstrap,dev)
	@exec $(PYTHON) -m bench.cold $(ARGS)

bench-warm: ## measure warm runs of what is built, against a usual handler (ARGS="--rounds 10 --runs 20")
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m bench.warm $(ARGS)

bench-reset: ## advance 10,000 due accounts through the queue, and print the rate (ARGS="--accounts 1000")
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m bench.reset $(ARGS)

load: ## many users at once on a whole stack, and whether all adds up afterwards (MINUTES=2 USERS=20 ARGS=--page)
	$(call bootstrap,run engine load)
	@exec $(PYTHON) -m bench.load --minutes $(or $(MINUTES),2) --users $(or $(USERS),20) $(ARGS)

capacity: ## what runs cost and need at AWS, and what breaks first; writes docs/capacity.md (ARGS=--check)
	$(call bootstrap,run)
	@exec $(PYTHON) -m bench.capacity $(ARGS)

simulate-reset: ## a million accounts cross their monthly boundary, in memory, with a clock of its own (ACCOUNTS=1000000)
	$(call bootstrap,dev)
	@exec $(PYTHON) -m tests.simulate_reset --accounts $(or $(ACCOUNTS),1000000) $(ARGS)

crash-matrix: ## kill a worker at every step of every money path, and print what came of it
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m tests.kit.crash_matrix $(ARGS)

mutants: ## plant known bugs in copies of the code and see the tests catch them
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m tests.mutants $(ARGS)

soak: ## random workloads with random seeds (MINUTES=10)
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m tests.soak --minutes $(or $(MINUTES),10) $(ARGS)

soak-payments: ## lives of payments told in any order, with new seeds (LIVES=10000)
	$(call bootstrap,dev engine)
	@exec $(PYTHON) -m tests.soak_payments --lives $(or $(LIVES),10000) $(ARGS)

openapi: ## write what is made from the code: the API's description, the schema of notices, the dashboard
	$(call bootstrap,dev)
	@$(PYTHON) -m tools.openapi
	@exec $(PYTHON) -m tools.dashboard

lock: ## write the lock files anew from requirements/*.in (ARGS="--upgrade")
	$(call bootstrap,lock)
	@PATH="$(CURDIR)/.venv-lock/bin:$$PATH" python3 tools/lock.py $(ARGS)

build: ## build what is deployed (needs Python 3.13; BUILT=1 make run starts it)
	$(call bootstrap,sam)
	@$(SAM) build --build-dir $(BUILD_DIR)
	@$(SLIM) --folder $(BUILD_DIR)

deploy: ## build and deploy to AWS (STACK=playground ARGS="--parameter-overrides AuthAlgorithm=RS256 ...")
	$(call bootstrap,sam)
	@PATH="$(CURDIR)/.venv-sam/bin:$$PATH" .venv-sam/bin/python tools/deploy_check.py $(DEPLOY_OPTIONS)
	@$(SAM) build
	@$(SLIM)
	@$(SAM) deploy $(DEPLOY_OPTIONS)
	@.venv-sam/bin/python -m tools.deploy_page $(DEPLOY_OPTIONS)

environment: ## make the environment that ./playground and make run need
	$(call bootstrap,run)

clean: ## remove environments, builds and caches, but no data
	rm -rf .venv .venv-engine .venv-sam .venv-lock .venv-node .venv-api .venv-load .venv-security .venv-litellm .cache .aws-sam web/node_modules web/dist web/.build-failed .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-state: ## remove the data of the laptop stack, if it is not running (STATE_DIR=.local)
	$(call bootstrap,run)
	@exec $(PYTHON) -m local.clean_state
