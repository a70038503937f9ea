# `make demo` and `make test` are all that a newcomer needs; both set up and build first.
PRESET ?= release
BUILD := build/$(PRESET)
BIN := build/release/moebius

TIMED := scripts/timed.sh
PYTEST := OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1 .venv/bin/python -m pytest -q -n 2 --dist worksteal tests/python

.PHONY: all build configure build-tests setup setup-tests demo test test-cpp test-python test-all asan asan-build \
	fuzz format format-check bench bench-compare clean

all: build

setup:
	@scripts/setup.sh

setup-tests:
	@$(TIMED) "set-up" scripts/setup.sh --tests

configure: setup
	@cmake --preset $(PRESET) >build-configure.log 2>&1 || (cat build-configure.log; exit 1)
	@rm -f build-configure.log

build: configure
	@cmake --build $(BUILD) --target moebius

build-tests: configure
	@$(TIMED) "build with tests" cmake --build $(BUILD)

# Synthetic data to a trained mixture of experts in five minutes. MODEL=DIR begins with a checkpoint of yours.
demo: build
	@$(BIN) demo $(if $(MODEL),--model $(MODEL)) --overwrite

# The short tier: what is not labelled (ctest) or marked (pytest) `long`.
test: test-cpp test-python

test-cpp: setup-tests build-tests
	@cd $(BUILD) && $(CURDIR)/$(TIMED) "C++ tests" ctest -j 2 -LE long --output-on-failure

test-python: setup-tests build-tests
	@$(TIMED) "Python tests" $(SHELL) -c '$(PYTEST) -m "not long"'

# Both tiers.
test-all: setup-tests build-tests
	@cd $(BUILD) && $(CURDIR)/$(TIMED) "C++ tests, both tiers" ctest -j 2 --output-on-failure
	@$(TIMED) "Python tests, both tiers" $(SHELL) -c '$(PYTEST)'

# The torch-free library under AddressSanitizer and UndefinedBehaviorSanitizer, by clang: one build
# for its tests and for the fuzz targets.
asan-build:
	@scripts/setup.sh --clang
	@cmake --preset asan >/dev/null
	@$(TIMED) "sanitized build" cmake --build build/asan

asan: asan-build
	@cd build/asan && $(CURDIR)/$(TIMED) "sanitized C++ tests" ctest -j 2 -LE long --output-on-failure

# Every fuzz target for FUZZ_SECONDS (30), or until FUZZ_RUNS inputs; TARGETS="config pickle" for some.
fuzz: asan-build
	@$(TIMED) "fuzz targets" scripts/fuzz.sh $(TARGETS)

# All benchmarks, or NAMES="train_speed shapes"; what they print goes into docs/benchmarks.md.
bench: setup-tests build
	@cmake --build $(BUILD) --target moe_layer
	@.venv/bin/python bench/run.py $(NAMES)

# Another revision beside this one, on the same shapes in turns: make bench-compare BASE=REVISION.
bench-compare: build
	@.venv/bin/python bench/compare.py $(BASE)

format:
	@git ls-files -co --exclude-standard '*.cpp' '*.h' '*.cu' | xargs clang-format -i

format-check:
	@git ls-files '*.cpp' '*.h' '*.cu' | xargs clang-format --dry-run --Werror

clean:
	@rm -rf build
