# The commands of the house. Each does its own set-up: a virtual environment
# in $(VENV), made by $(PYTHON), and the extras of pyproject.toml it needs.
#
#   make demo        solve real ensembles; on the GPU if there is one
#   make test        everything that needs no GPU
#   make check       formatting, lints, types, house rules
#   make bench       registry, planner and device memory beside their peers
#   make sanitize    C tests under ASan+UBSan and under TSan
#   make fuzz        libFuzzer on registry, planner and device memory (Clang; FUZZ_SECONDS=60 each)
#   make docs        docs/_build/html
#   make test-gpu    tests that need a CUDA device
#   make bench-gpu   benchmarks that need one
#   make clean       build products; the virtual environment stays
#
# VENV=none uses $(PYTHON) as it is, with what is installed there, and touches
# the network only for what is missing. PIP_FLAGS goes to every pip install
# (say PIP_FLAGS='--no-index --no-deps'). ARGS goes to the demo and to pytest.

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
JOBS ?= 2
FUZZ_SECONDS ?= 60
ARGS ?=

ifeq ($(VENV),none)
PY := $(PYTHON)
STAMPS := build/stamps/$(subst /,_,$(PYTHON))
BUILD_NEEDS :=
export PATH := $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("scripts"))'):$(PATH)
else
PY := $(abspath $(VENV))/bin/python
STAMPS := $(abspath $(VENV))/stamps
BUILD_NEEDS := 'scikit-build-core>=0.10' 'numpy>=2,<2.5' 'cmake>=3.20' ninja
export PATH := $(abspath $(VENV))/bin:$(PATH)
endif

PIP := $(PY) -m pip install --disable-pip-version-check -q $(PIP_FLAGS)
PYTEST := $(PY) -m pytest
SIMULATOR := NUMBA_ENABLE_CUDASIM=1
# Empty without a CUDA device, else the driver's CUDA version (12, 13, ...).
CUDA_MAJOR = $(shell $(PYTHON) .ci/cuda_major.py)
CUDA_EXTRA = $(if $(CUDA_MAJOR),$(if $(filter 12,$(CUDA_MAJOR)),cu12,cu13),sim)
GENERATOR = $(if $(shell command -v ninja),-G Ninja)

C_FILES := $(shell find src tests benchmarks docs -name '*.[ch]')
BUILT_FROM := pyproject.toml CMakeLists.txt \
    $(shell find src -name '*.[ch]') $(shell find python/bayplan -type f -not -path '*/__pycache__/*')
PYTHON_FILES := python tests benchmarks docs .ci

.PHONY: demo test check bench sanitize fuzz docs test-gpu bench-gpu clean \
    check-format check-python check-types test-house \
    test-c test-c-address test-c-thread test-ptx test-sim

# ---- set-up ---------------------------------------------------------------

ifeq ($(VENV),none)
PYTHON_READY := $(STAMPS)/python
else
PYTHON_READY := $(PY)
endif

$(PYTHON_READY):
ifeq ($(VENV),none)
	@mkdir -p $(@D) && touch $@
else
	$(PYTHON) -m venv $(VENV)
endif

$(STAMPS)/build-needs: $(PYTHON_READY)
	@mkdir -p $(@D)
	$(if $(BUILD_NEEDS),$(PIP) $(BUILD_NEEDS))
	@touch $@

# $(STAMPS)/<extras joined by +>: bayplan, editable, with these extras.
comma := ,
$(STAMPS)/with-%: $(STAMPS)/build-needs $(BUILT_FROM)
	$(PIP) --no-build-isolation -e '.[$(subst +,$(comma),$*)]'
	@touch $@

READY_TO_TEST := $(STAMPS)/with-test+ptx+plot

# ---- the two commands -----------------------------------------------------

demo:
	@$(MAKE) --no-print-directory $(STAMPS)/with-$(CUDA_EXTRA)+plot+demo
	$(PY) -m bayplan demo $(ARGS)

# All parts run, also after one has failed; the tests in the simulator come last.
test: $(READY_TO_TEST)
	@$(MAKE) --no-print-directory -k check test-c test-c-address test-ptx test-sim

# ---- parts of make test ---------------------------------------------------

check: check-format check-python check-types test-house

check-format: $(READY_TO_TEST)
	clang-format --dry-run -Werror $(C_FILES)

check-python: $(READY_TO_TEST)
	$(PY) -m ruff check $(PYTHON_FILES)
	$(PY) -m ruff format --check $(PYTHON_FILES)

check-types: $(READY_TO_TEST)
	$(PY) -m mypy
	$(PY) -m mypy.stubtest bayplan._core

test-house: $(READY_TO_TEST)
	$(PYTEST) tests/house -q

# One build folder per flavour: make test-c builds and runs build/c/plain.
define c_tests
	cmake -S . -B build/c/$(1) $(GENERATOR) -DBAYPLAN_TESTS=ON -DBAYPLAN_WERROR=ON \
	    -DBAYPLAN_SANITIZE=$(2) >build/c-$(1).log 2>&1 || { cat build/c-$(1).log; exit 1; }
	cmake --build build/c/$(1) -j $(JOBS) >build/c-$(1).log 2>&1 || { cat build/c-$(1).log; exit 1; }
	ctest --test-dir build/c/$(1) -j $(JOBS) --output-on-failure --no-tests=error
endef

test-c: $(STAMPS)/build-needs
	@mkdir -p build
	$(call c_tests,plain,)

# The corpora of the fuzzers are replayed by both.
test-c-address: $(STAMPS)/build-needs
	@mkdir -p build
	$(call c_tests,address,address)

test-c-thread: $(STAMPS)/build-needs
	@mkdir -p build
	$(call c_tests,thread,thread)

test-ptx: $(READY_TO_TEST)
	$(PYTEST) tests/python -m 'ptx and not gpu' -n $(JOBS) -q $(ARGS)

test-sim: $(READY_TO_TEST)
	$(SIMULATOR) $(PYTEST) tests/python -m 'not ptx and not gpu' -n $(JOBS) -q $(ARGS)

# ---- the others -----------------------------------------------------------

sanitize: test-c-address test-c-thread

fuzz: $(STAMPS)/build-needs
	@command -v clang >/dev/null || { echo "make fuzz needs clang and its libFuzzer"; exit 1; }
	CC=clang cmake -S . -B build/c/fuzz $(GENERATOR) -DBAYPLAN_FUZZ=ON -DBAYPLAN_SANITIZE=address
	cmake --build build/c/fuzz -j $(JOBS)
	@for fuzzer in build/c/fuzz/tests/fuzz/fuzz_*; do \
	    test -f $$fuzzer && test -x $$fuzzer || continue; \
	    name=$$(basename $$fuzzer); found=build/corpus/$$name; mkdir -p $$found; \
	    echo "$$fuzzer for $(FUZZ_SECONDS) s"; \
	    $$fuzzer -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -artifact_prefix=build/ \
	        $$found tests/fuzz/corpus/$${name#fuzz_} || exit 1; \
	done

bench: $(STAMPS)/with-bench
	$(PY) benchmarks/report.py $(ARGS)
	$(PY) benchmarks/bench_planner.py
	$(PY) benchmarks/bench_device.py

docs: $(STAMPS)/with-docs
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# $(call on_device,command): with the extras for this machine's driver, or "no device".
define on_device
	@cuda='$(CUDA_MAJOR)'; if [ -z "$$cuda" ]; then echo "no device"; else \
	    $(MAKE) --no-print-directory $(STAMPS)/with-test+$(CUDA_EXTRA) && $(1); fi
endef

test-gpu:
	$(call on_device,$(PYTEST) tests/python -m gpu $(ARGS))

bench-gpu:
	$(call on_device,$(PY) benchmarks/views_on_device.py $(ARGS))

clean:
	rm -rf build dist docs/_build
