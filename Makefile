# SPDX-License-Identifier: Apache-2.0
#
#   make run         install what is missing, build, and generate Korean text
#   make test        what every change must pass: lit, then pytest on all processors (ARGS=-x: options of pytest)
#   make test-matrix every format on every target, every shape
#   make test-arm    the part of it that is for 64-bit ARM, in an emulator
#   make test-gpu    the part of it that is for GPUs: an emulator, NVIDIA's assembler, Vulkan (installs them)
#   make fuzz        try millions of inputs; stopped, it goes on where it was (KINDS="folders templates", TIMES=10)
#   make test-web    the chat page and that of examples/web in Chromium (installs it, Node, and what makes WebAssembly)
#   make page        build the chat page from web/
#   make test-asan   tests of lumen-opt, the extension, the thread team and bundles under sanitizers
#   make test-peers  compare with transformers and llama.cpp, and ask the server with other clients (installs them)
#   make wheel       wheels without any need of LLVM, in dist/ (PYTHONS="python3.10 python3.12")
#   make wheel-aarch64  the same for 64-bit ARM, on another machine
#   make test-wheel  install them on small systems without LLVM, and try them (SYSTEMS="bookworm trixie")
#   make lint        formatters and linters
#   make docs        write docs/reference/ from TableGen and the command line
#   make site        build the documentation as a site in build/site, and check its links
#   make clean       remove what was built
#
# Nothing is done twice: stamps say what is up to date. What installing wrote is in build/install.log.

PYTHON ?= python3
PROMPT ?= 주말에 가족들과
STARTED := $(shell date +%s)
STEP := tools/step.sh
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin

export CC ?= clang-22
export CXX ?= clang++-22
ifeq ($(origin CC),default)
CC := clang-22
endif
ifeq ($(origin CXX),default)
CXX := clang++-22
endif
export CMAKE_GENERATOR ?= Ninja

PACKAGES := libmlir-22-dev mlir-22-tools llvm-22-dev llvm-22-tools clang-22 cmake ninja-build \
	libclang-rt-22-dev g++ python3 python3-dev python3-venv
WEB := chromium lld-22 wasi-libc libc++-22-dev-wasm32 libc++abi-22-dev-wasm32 libclang-rt-22-dev-wasm32
# Node from elsewhere brings npm along.
NODE := $(shell command -v npm >/dev/null || echo nodejs npm)
EMULATOR := qemu-user g++-aarch64-linux-gnu lld-22
VULKAN := libvulkan1 mesa-vulkan-drivers spirv-tools
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SOURCES := $(shell find cmake dialect licences passes pipelines runtime tools python CMakeLists.txt pyproject.toml \
	-type f ! -name '*.pyc' ! -name '*.so' 2>/dev/null)

.PHONY: help run install test test-matrix test-arm test-gpu page test-web test-asan test-peers fuzz fuzz-coverage lint wheel wheel-aarch64 test-wheel docs site clean

help:
	@sed -n 's/^#   //p' Makefile

run: install
	@$(BIN)/python tools/welcome.py --since $(STARTED) --bin "$(BIN)" -- "$(PROMPT)"

install: $(VENV)/.installed

# Installs those of Debian's packages $(1) that are missing.
define install_packages
	@mkdir -p build
	@missing=; for package in $(1); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "missing packages:$$missing"; \
	  [ -z "$(SUDO)" ] || $(SUDO) -v || exit; \
	  $(STEP) "Reading the lists of packages" $(SUDO) apt-get update -qq && \
	  $(STEP) "Installing packages" $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	    -o APT::Status-Fd=1 --no-install-recommends $$missing; \
	fi
	@touch $@
endef

build/.packages: Makefile
	$(call install_packages,$(PACKAGES))

# For tests of code for 64-bit ARM and WebAssembly.
build/.emulator: Makefile
	$(call install_packages,$(EMULATOR))

# For tests of code for Vulkan.
build/.vulkan: Makefile
	$(call install_packages,$(VULKAN))

# For the pages in Chromium.
build/.web: Makefile
	$(call install_packages,$(WEB))

$(VENV)/.created: build/.packages pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Lumen needs Python 3.10 or newer; set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(STEP) "Preparing Python" \
	  $(BIN)/pip install --disable-pip-version-check 'scikit-build-core>=0.11' 'nanobind>=3.1'
	@touch $@

# pip is silent about the build unless it is verbose.
$(VENV)/.installed: $(VENV)/.created $(SOURCES)
	@$(STEP) "Building Lumen" \
	  $(BIN)/pip install -v --disable-pip-version-check --no-build-isolation '.[test]'
	@touch $@

# Both report, whichever fails. The tests keep compiled code in build/test-cache.
test: install build/.emulator
	@status=0; \
	$(BIN)/lit -v --no-progress-bar --order=lexical -D lumen_opt=$(BIN)/lumen-opt test/lit || status=1; \
	$(BIN)/pytest -q -n auto --max-worker-restart=2 --durations=20 $(ARGS) || status=1; \
	exit $$status

test-matrix: install build/.emulator
	$(BIN)/pytest -q -n auto -m "matrix or not matrix" $(ARGS)

# Code for 64-bit ARM in an emulator, with all that `make test` leaves out.
test-arm: install build/.emulator
	$(BIN)/pytest -q -n auto -m emulated $(ARGS)

# Code for GPUs in an emulator, with all that `make test` leaves out, and what NVIDIA's assembler says of it; code for
# Vulkan where a CPU stands for a GPU.
test-gpu: install build/.vulkan
	$(BIN)/pip install -q --disable-pip-version-check nvidia-cuda-nvcc==13.0.88 'lumen-mlir[vulkan]'
	LUMEN_TEST_PTXAS=1 LUMEN_TEST_VULKAN=1 $(BIN)/pytest -q -n auto -m gpu $(ARGS)

# For building the chat page.
build/.node: Makefile
	$(call install_packages,$(NODE))

# No package of npm runs a program when it is installed.
web/node_modules/.installed: build/.node web/package-lock.json
	@$(STEP) "Installing packages of npm" npm --prefix web ci --ignore-scripts
	@touch $@

# Writes the chat page, which is part of the sources.
page: web/node_modules/.installed
	@npm --prefix web run --silent build

test-web: install build/.web web/node_modules/.installed
	@$(BIN)/pip install -q --disable-pip-version-check 'lumen-mlir[web]'
	$(BIN)/pytest -q $(ARGS) test/web

# Builds what it tests in build/tsan and build/asan.
test-asan: install
	LIT=$(CURDIR)/$(BIN)/lit PYTHON=$(CURDIR)/$(BIN)/python tools/sanitize.sh

# All kinds, one after the other; KINDS chooses some, TIMES multiplies what is tried of each.
fuzz: install
	@PYTHONPATH=test $(BIN)/python -m fuzz $(KINDS) --times $(or $(TIMES),1)

# Guided by coverage, without an end; what reaches new code is kept in build/fuzz/corpus.
fuzz-coverage: install
	@$(BIN)/pip install -q --disable-pip-version-check 'lumen-mlir[fuzz]'
	@PYTHONPATH=test $(BIN)/python -m fuzz.coverage

# llama.cpp is built from source, for this machine.
$(PEERS)/.installed: $(VENV)/.installed test/peers/requirements.txt
	@$(PYTHON) -m venv $(PEERS)
	@CMAKE_ARGS="-DGGML_NATIVE=ON" $(PEERS)/bin/pip install -q --disable-pip-version-check -r test/peers/requirements.txt
	@$(PEERS)/bin/pip install -q --disable-pip-version-check 'scikit-build-core>=0.11' 'nanobind>=3.1'
	@$(PEERS)/bin/pip install -q --disable-pip-version-check --no-build-isolation --config-settings=build-dir=build/peers '.[test]'
	@touch $@

.venv-peers: $(PEERS)/.installed

test-peers: $(PEERS)/.installed
	$(PEERS)/bin/pytest -q test/peers

lint: install
	@$(BIN)/pip install -q --disable-pip-version-check 'lumen-mlir[lint]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict --config-file= test/typing/user.py
	git ls-files '*.cpp' '*.h' | xargs $(BIN)/clang-format --dry-run --Werror
	@$(MAKE) --no-print-directory site

# Pythons that are not here are left out; those from 3.12 on share a wheel.
PYTHONS ?= python3.10 python3.11 python3.12 python3.13 python3.14
SYSTEMS ?= bookworm trixie
# Those for wheels of another machine, whose Python runs a wheel of the stable ABI.
EMULATED ?= trixie

build/.wheel-packages: build/.packages
	@[ -z "$(SUDO)" ] || $(SUDO) -v
	@$(STEP) "Installing packages" $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	  -o APT::Status-Fd=1 --no-install-recommends lld-22 libzstd-dev zlib1g-dev binutils git debootstrap
	@touch $@

wheel: build/.wheel-packages
	@rm -f dist/*.whl
	@$(PYTHON) tools/wheels/build.py $(PYTHONS)

# For 64-bit ARM, on this machine.
build/wheels/sysroot-arm64/usr/lib/llvm-22/bin: build/.wheel-packages tools/wheels/sysroot.sh
	@$(STEP) "Reading libraries for 64-bit ARM" tools/wheels/sysroot.sh arm64 build/wheels/sysroot-arm64
	@touch -h $@

wheel-aarch64: build/wheels/sysroot-arm64/usr/lib/llvm-22/bin
	@$(PYTHON) tools/wheels/build.py --once --sysroot build/wheels/sysroot-arm64 $(PYTHONS)

test-wheel:
	@ls dist/*.whl >/dev/null 2>&1 || $(MAKE) wheel
	@$(SUDO) $(PYTHON) tools/wheels/test.py dist/*.whl --systems $(SYSTEMS) --emulated $(EMULATED) --pythons $(PYTHONS)

docs: install
	$(BIN)/python docs/generate.py

# The variable turns off a notice about later versions of MkDocs.
site: install
	@$(BIN)/pip install -q --disable-pip-version-check 'lumen-mlir[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python tools/check_site.py build/site

clean:
	rm -rf build $(VENV) $(PEERS)
