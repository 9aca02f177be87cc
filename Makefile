# `make demo` and `make test` are all that a newcomer needs. Both make what they need and repeat nothing.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TOKENIZERS_PARALLELISM := false
# Tests start hundreds of processes, each of which would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

# FlagEmbedding for the benchmarks; SHARPEN_PEER_FLAGEMBEDDING names an environment that already has it.
PEER := $(if $(SHARPEN_PEER_FLAGEMBEDDING),,.venv-flagembedding/peer.done)
HN_MINE := $(if $(SHARPEN_PEER_FLAGEMBEDDING),,.venv-flagembedding/hn_mine.py)
BENCH ?=
LOCKS := images/requirements
RUN ?=
ONLY ?=

INPUTS ?= 10000

# Tools whose requirements must not decide ours have environments of their own.
TOOLS := .venv-tools/bin
DOCS := .venv-docs/bin

.PHONY: help demo test axe fuzz test-images test-cluster test-two-hosts test-outages test-newest-client test-minimum test-qlora lint lint-workflows
.PHONY: lint-types lint-style lint-layers
.PHONY: settings docs release image-locks tool-locks pin-base
.PHONY: bench-data bench-finetuning bench-memory bench-merging bench-mining bench-quality bench-teachers
.PHONY: bench-generation bench-pretraining bench-served-size bench-tuning bench-windows kind kind-run kind-down store-down clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

# pip's own output is long; its log keeps it, and a line now and then shows that it goes on. Nothing is compiled: Python
# does it where a module is first imported, and most never are.
define pip
@$(BIN)/python -m pip install --no-compile --progress-bar off $(1) 2>&1 \
	| tee -a $(VENV)/pip.log \
	| awk '/^(Collecting|Requirement already)/ && ++n % 20 == 0 { print "  " n " packages found"; fflush() } \
	       /^Installing collected/ { print "  installing"; fflush() } /^ERROR/ { print substr($$0, 1, 300); fflush() }' \
	|| { echo "error: pip failed; the whole log: $(VENV)/pip.log"; exit 1; }
endef

# uv needs a fifth of pip's time, but does not read pip's configuration: where that names an index, pip does all. Else it
# finds nearly everything there. Every file has its hash in a list, but those of torch: which wheel it is depends on the
# machine (SHARPEN_TORCH=cpu or cuda decides by hand), and pip prefers one with a known hash to the one for processors
# alone.
define pip_install
@rm -f $(VENV)/*.log
$(call pip,--no-deps --require-hashes --requirement $(LOCKS)/uv.txt)
@$(BIN)/python -m pip config list | grep -qE '[.](index-url|no-index)=' \
	|| $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --requirement $(LOCKS)/$(1).txt \
		2> $(VENV)/uv.log \
	|| echo "  uv could not install all of it (why: $(VENV)/uv.log), so pip does"
$(call pip,--no-deps --require-hashes --requirement $(LOCKS)/$(1).txt)
@$(BIN)/python images/torch_wheel.py > $(VENV)/torch.txt
$(call pip,--constraint requirements.lock $$(cat $(VENV)/torch.txt))
$(call pip,--no-deps --no-build-isolation --editable .)
endef

define make_venv
@echo "Setting up $(VENV) (a minute or two, once)"
@command -v "$(PYTHON)" >/dev/null || { echo "error: $(PYTHON) not found; name another with make PYTHON=python3.12"; exit 2; }
@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
endef

$(VENV)/demo.done: pyproject.toml requirements.lock $(LOCKS)/demo.txt
	$(make_venv)
	$(call pip_install,demo)
	@touch $@

# With what the demo needs. What most processes import is compiled once, by two processes: the workers of pytest would
# each do it.
$(VENV)/dev.done: pyproject.toml requirements.lock $(LOCKS)/dev.txt
	$(make_venv)
	$(call pip_install,dev)
	@$(BIN)/python -c "import kfp, pytest, hypothesis, pandas, scipy.stats, sklearn.linear_model, sentence_transformers" & \
	$(BIN)/python -c "import sharpen.training.train"; wait $$!
	@touch $(VENV)/demo.done $@

demo: $(VENV)/demo.done  ## the whole pipeline on real data, here
	@$(BIN)/sharpen run --config pipeline/demo.yaml

# Types are checked beside the tests, many of which wait for processes of their own.
test: $(VENV)/dev.done  ## lint, types, layer rules and all tests
	@$(MAKE) --no-print-directory lint > $(VENV)/lint.log 2>&1 & lint=$$!; status=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not images and not cluster" \
		|| status=$$?; \
	wait $$lint || status=$$?; cat $(VENV)/lint.log; exit $$status

fuzz: $(VENV)/dev.done  ## mutated input for every reader, odd settings (half an hour; INPUTS of a kind)
	@$(BIN)/python -m tests.fuzz_readers --inputs $(INPUTS)
	@$(BIN)/python -m tests.fuzz_settings --inputs $(INPUTS)

test-images: $(VENV)/dev.done  ## build the container images and run the pipeline in them (Linux, root or an engine)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m images -rsP tests/images

test-cluster: $(VENV)/dev.done  ## runs on a cluster of yours with Kubeflow Pipelines (tests/cluster/README.md; hours)
	@$(BIN)/python -m pytest -m cluster -rs --tb=short tests/cluster $(ONLY)

test-two-hosts: $(VENV)/dev.done  ## fine-tuning on two hosts of which each is lost once (needs root and ip netns)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/two_hosts.py -rs

test-outages: $(VENV)/dev.done  ## the pipeline with a store that goes away for 90 s in every step (an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/outages.py -s

test-newest-client: $(VENV)/dev.done  ## the job tests with the newest kubernetes client
	@SHARPEN_TEST_NEWEST=1 $(BIN)/python -m pytest tests/sharpen/jobs/test_cluster_client.py -rs

lint: $(VENV)/dev.done  ## format, lint, types, layer rules
	@$(MAKE) --no-print-directory --jobs --output-sync lint-types lint-style lint-layers

# Types take longer than the rest together.
lint-types:
	@$(BIN)/pyright --pythonpath $(BIN)/python

lint-style:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/python -m tests.project.words

lint-layers:
	@$(BIN)/lint-imports

# The rules by which tests check that pages are accessible: one file, its digest that of the npm registry.
AXE := 4.11.0
AXE_SHA512 := 8a561a9c453cbf1c417b1a4977c716338125490ab841cb422ca8a1d1349f8c87c24137b21ffeb356b98825f2cfaca4ca2516e21be71f9d96d02230252661758d
.venv-axe/axe.min.js:
	@mkdir -p $(@D)
	@cd $(@D) && npm pack --silent axe-core@$(AXE) > /dev/null
	@cd $(@D) && echo "$(AXE_SHA512)  axe-core-$(AXE).tgz" | sha512sum --check --quiet
	@tar -xzf $(@D)/axe-core-$(AXE).tgz -C $(@D) --strip-components=1 package/axe.min.js
	@touch $@

axe: .venv-axe/axe.min.js  ## fetch axe-core, by which tests check that pages are accessible (needs npm)

.venv-docs/done: docs/requirements.txt
.venv-tools/done: .github/requirements.txt
.venv-docs/done .venv-tools/done:
	@echo "Setting up $(@D) (half a minute, once)"
	@test -x $(@D)/bin/python || "$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --quiet --no-deps --require-hashes --requirement $<
	@touch $@

WORKFLOWS := .github/workflows/*.yml
lint-workflows: .venv-tools/done  ## workflows and forms by their schemas, and by zizmor (security)
	@$(TOOLS)/zizmor --offline --quiet --pedantic .github
	@$(TOOLS)/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)
	@$(TOOLS)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(TOOLS)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml \
		.github/ISSUE_TEMPLATE/feature.yml
	@$(TOOLS)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

settings: $(VENV)/demo.done  ## write docs/settings.md anew, after a change of a setting
	@$(BIN)/python -m pipeline.docs

docs: settings .venv-docs/done  ## the documentation's pages, into build/site
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --strict

release: .venv-tools/done  ## build and check the packages, and list what the images hold, into dist/
	@rm -rf dist
	@$(TOOLS)/python -m build --outdir dist .
	@$(TOOLS)/twine check --strict dist/*
	@$(TOOLS)/python -m tests.project.release dist
	@for image in launcher cpu cuda; do \
		cat $(LOCKS)/$$image.txt $$([ $$image != cpu ] || echo $(LOCKS)/torch-cpu.txt) | PYTHONWARNINGS=ignore \
			$(TOOLS)/cyclonedx-py requirements --output-reproducible --of JSON --pyproject pyproject.toml \
			--output-file dist/sbom-$$image.cdx.json -; done
	@cd dist && sha256sum -- * > SHA256SUMS && cat SHA256SUMS

# Beside the environment of tests, in which transformers would import it everywhere.
.venv-qlora/done: $(LOCKS)/qlora.txt $(VENV)/dev.done
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes --upgrade --target $(@D) --requirement $<
	@touch $@

test-qlora: .venv-qlora/done  ## adapters beside weights of 4 bits, by bitsandbytes
	@PYTHONPATH=$(CURDIR)/.venv-qlora OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/sharpen/training/test_quantized.py -rs

# The lowest versions that pyproject.toml allows.
.venv-minimum/done: pyproject.toml $(VENV)/dev.done
	@test -x $(@D)/bin/python || "$(PYTHON)" -m venv $(@D)
	@$(BIN)/uv pip compile pyproject.toml --all-extras --resolution lowest-direct --python $(@D)/bin/python \
		--quiet --output-file $(@D)/requirements.txt
	@$(@D)/bin/python -m pip install --quiet --requirement $(@D)/requirements.txt "setuptools>=80"
	@$(@D)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

test-minimum: .venv-minimum/done  ## all tests with the lowest versions that pyproject.toml allows
	@OMP_NUM_THREADS=1 .venv-minimum/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not images and not cluster" \
		--ignore tests/images

kind:  ## a cluster on this machine with Kubeflow Pipelines and Sharpen (needs docker, kind, kubectl)
	@k8s/install/kind.sh up

kind-run: $(VENV)/demo.done  ## the whole pipeline on real data, in that cluster
	@PATH="$(CURDIR)/$(BIN):$$PATH" k8s/install/run.sh $(RUN)

kind-down:  ## remove that cluster
	@k8s/install/kind.sh down

image-locks: $(VENV)/dev.done  ## write the locked requirements of the images anew, after a change of the lock
	@$(BIN)/python images/lock.py

tool-locks: $(VENV)/dev.done  ## write the locked requirements of documentation and packaging tools anew
	@for list in docs/requirements .github/requirements; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-header --output-file $$list.txt $$list.in; done

pin-base:  ## pin the images' base to what its tag means now (needs docker)
	@images/pin-base.sh

# An environment of its own: its requirements must not decide ours. What both need has the versions of the lock.
.venv-flagembedding/peer.done: requirements.lock
	@echo "Setting up .venv-flagembedding (about three minutes, once)"
	@test -x .venv-flagembedding/bin/python || "$(PYTHON)" -m venv .venv-flagembedding
	@.venv-flagembedding/bin/python -m pip install --progress-bar off --quiet FlagEmbedding==1.4.2 \
		$$(.venv-flagembedding/bin/python images/torch_wheel.py) \
		$$(grep -E '^(transformers|accelerate|faiss-cpu)==' requirements.lock)
	@touch $@

# Its package lacks the mining script.
.venv-flagembedding/hn_mine.py: .venv-flagembedding/peer.done
	@curl --fail --silent --show-error --location --output $@ \
		https://raw.githubusercontent.com/FlagOpen/FlagEmbedding/1bfdf2cbb05838fc91248b2d9e863751065f0bcf/scripts/hn_mine.py

# With --quick only the trainings, beside sentence-transformers alone, which needs no environment of its own.
ifneq ($(filter --quick,$(BENCH)),)
bench-finetuning: $(VENV)/dev.done
	@$(BIN)/python -m tests.peers.bench_finetuning $(BENCH)
else
bench-finetuning: $(VENV)/dev.done $(PEER)  ## speed and memory beside the peers (hours; BENCH=--quick: 20 minutes)
	@$(BIN)/python -m tests.peers.check_export
	@$(BIN)/python -m tests.peers.check_bi_encoder
	@$(BIN)/python -m tests.peers.bench_loss_memory
	@$(BIN)/python -m tests.peers.bench_cached_step
	@$(BIN)/python -m tests.peers.bench_large_batch
	@$(BIN)/python -m tests.peers.bench_finetuning $(BENCH)
endif

bench-mining: $(VENV)/dev.done $(PEER) $(HN_MINE)  ## mining beside the peers (hours), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.check_same_negatives --passages 4000 --queries 2000
	@$(BIN)/python -m tests.peers.bench_search
	@$(BIN)/python -m tests.peers.bench_mining $(BENCH)

bench-data: $(VENV)/dev.done  ## data preparation beside datasets (20 minutes), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_data $(BENCH)

bench-quality: $(VENV)/dev.done $(PEER)  ## quality beside the peers (an hour), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_quality $(BENCH)

bench-memory: $(VENV)/dev.done  ## memory with weights in shards and of long passages (10 minutes), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_sharded_memory
	@$(BIN)/python -m tests.peers.bench_long_passages $(BENCH)

bench-merging: $(VENV)/dev.done  ## gain and forgetting by weight on three data sets (an hour), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_merging $(BENCH)

bench-teachers: $(VENV)/dev.done  ## teachers, a margin and a guide model after the same training (an hour), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_teachers $(BENCH)

bench-pretraining: $(VENV)/dev.done  ## RetroMAE and MLM before fine-tuning (an hour), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_pretraining $(BENCH)

bench-generation: $(VENV)/dev.done  ## training on generated queries and on people's (an hour and more), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_generation $(BENCH)

bench-served-size: $(VENV)/dev.done  ## training for the size that is served (two hours), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_served_size $(BENCH)

bench-tuning: $(VENV)/dev.done  ## settings of a search beside the defaults (an hour), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_tuning $(BENCH)

bench-windows: $(VENV)/dev.done  ## long passages cut, by the mean of windows and by the best one (10 minutes), into tests/peers/RESULTS.md
	@$(BIN)/python -m tests.peers.bench_windows $(BENCH)

store-down: $(VENV)/demo.done  ## stop the embedded S3 store
	@$(BIN)/sharpen store down

clean:  ## remove environment, store, runs and caches
	@if [ -x $(BIN)/sharpen ]; then $(BIN)/sharpen store down || true; fi
	@rm -rf $(VENV) .venv-flagembedding .venv-docs .venv-tools .venv-axe .venv-minimum .venv-qlora .sharpen build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache
