# SPDX-License-Identifier: Apache-2.0
# The front door. `make help` lists the targets; CMake presets (CMakePresets.json) do the work below build/.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 600

.PHONY: help build demo model test test-python test-python-full wheels test-clients check check-source check-clang check-asan check-tsan check-valgrind check-aarch64 \
        check-fuzz bench fuzz install format clean distclean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## install what is missing, release build: build/rkformer
	@tools/packages.sh build
	@tools/build.sh release product
	@ln -sfn release/rkformer build/rkformer

model: ## the real all-MiniLM-L6-v2 in build/models (from the Hugging Face cache, or fetched once)
	@tools/packages.sh build
	@tools/fetch_model.sh

demo: build model ## embed a few sentences with the real model and show which are similar
	@python3 tools/demo.py build/rkformer build/models/all-MiniLM-L6-v2

test-clients: build ## the peers' own clients, a browser and schemathesis against `rkformer serve` (installs them)
	@tools/packages.sh clients
	@tools/test_clients.sh build/rkformer

test: ## release build and all its tests, with the real model
	@tools/packages.sh build test
	@tools/fetch_model.sh
	@tools/build.sh release
	@ln -sfn release/rkformer build/rkformer
	@tools/run_tests.sh release
	@tools/test_python.sh build/release

test-python: ## the Python package's tests alone, installed into build/python-venv
	@tools/packages.sh build test
	@tools/build.sh release
	@tools/test_python.sh build/release

test-python-full: build ## differential tests against PYTHONS ("a/bin/python b/bin/python", with torch, transformers, sentence-transformers) on MODELS (trained/, random/)
	@tools/test_python_full.sh "$(MODELS)" $(PYTHONS)

check: check-source check-clang check-asan check-tsan check-valgrind check-aarch64 check-fuzz ## everything below, in this order

check-source: ## include direction, file and function length, licence lines, clang-format
	@tools/packages.sh build check
	@tools/check_source.sh

check-clang: ## clang release build without warnings, its unit and golden tests
	@tools/packages.sh build test check
	@tools/build.sh clang
	@tools/run_tests.sh clang -L 'unit|golden|fuzz'

check-asan: ## unit and golden tests and the server's under the address and undefined-behaviour sanitizers
	@tools/packages.sh build test check
	@tools/build.sh asan
	@tools/run_tests.sh asan -L 'unit|golden|fuzz|serve'

check-tsan: ## unit and golden tests and the server's under the thread sanitizer
	@tools/packages.sh build test check
	@tools/build.sh tsan
	@tools/run_tests.sh tsan -L 'unit|golden|serve'

check-valgrind: ## no leak and no invalid access in `rkformer embed`
	@tools/packages.sh build test check
	@tools/build.sh release
	@tools/check_valgrind.sh

check-aarch64: ## cross build for aarch64; unit and golden tests under qemu-user
	@tools/packages.sh build test check
	@tools/check_aarch64.sh

check-fuzz: ## every fuzz target for a few seconds, from its corpus
	@tools/packages.sh build test check
	@tools/build.sh asan
	@tools/fuzz.sh build/asan 10

fuzz: ## every fuzz target for FUZZ_SECONDS (600) each
	@tools/packages.sh build test check
	@tools/build.sh asan
	@tools/fuzz.sh build/asan $(FUZZ_SECONDS)

bench: build model ## speed tables (bench/run.sh; see docs/performance.md)
	@if [ -x bench/run.sh ]; then bench/run.sh; else echo "bench/run.sh is not there yet"; exit 1; fi

wheels: ## release wheels for x86-64 and aarch64 against glibc 2.28 in dist/ (needs PyPI)
	@tools/packages.sh build test
	@tools/build_wheels.sh

install: build ## library, header, command to PREFIX (/usr/local); DESTDIR is respected
	@cmake --install build/release --prefix $(PREFIX)

format: ## clang-format on every C file
	@tools/check_source.sh --fix

clean: ## remove builds; keeps what was fetched (build/models, build/third_party, build/sysroot)
	@find build -mindepth 1 -maxdepth 1 ! -name models ! -name third_party ! -name 'sysroot*' -exec rm -rf {} + 2>/dev/null || true

distclean: ## remove everything below build/
	@rm -rf build
