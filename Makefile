# Everything that a checkout needs: `make demo` and `make test` set it up themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto

# program:Debian package that has it
TOOLS := gcc:gcc cmake:cmake arm-none-eabi-gcc:gcc-arm-none-eabi qemu-system-arm:qemu-system-arm
# compiler:Debian package that has its C library
LIBRARIES := gcc:libc6-dev arm-none-eabi-gcc:libnewlib-arm-none-eabi

.PHONY: setup demo test test-all lint golden benchmarks clean

setup: tools $(VENV)/ready

.PHONY: tools
tools:
	@missing=""; \
	for entry in $(TOOLS); do command -v "$${entry%%:*}" >/dev/null || missing="$$missing $${entry#*:}"; done; \
	for entry in $(LIBRARIES); do \
	    echo '#include <string.h>' | "$${entry%%:*}" -E - >/dev/null 2>&1 || missing="$$missing $${entry#*:}"; \
	done; \
	"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "missing:$$missing"; echo "next: sudo apt-get install$$missing (or your system's packages of these names)"; exit 1; \
	fi; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing

$(VENV)/ready: pyproject.toml | tools
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11")'
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[verify,test]'
	@touch $@

# The bundled digits model, fired into firmware for an emulated Cortex-M4 and compared image by image.
demo: setup
	$(BIN)/tinykiln generate examples/digits/digits.tflite --board qemu_mps2_an386 -o demo
	$(BIN)/tinykiln flash-and-test demo --inputs examples/digits/test.npz

test: setup lint
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-all: setup lint
	$(BIN)/python -m pytest -n $(JOBS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

# The generated C of tests/golden, made anew: read the diff.
golden: setup
	$(BIN)/python -m pytest tests/test_emit.py --update-golden

# The table of benchmarks/README.md, measured anew: read the diff.
benchmarks: setup
	$(BIN)/python benchmarks/measure.py

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
