# Every stage is a target here, and CI only calls them. A fresh machine needs python3.11, make and gcc; the rest goes into .venv.
#
#   make demo     compile the bundled model and generate text         make check    ruff, mypy
#   make test     every test this machine can run                     make bench    measure beside peers and limits; BENCH="--pairs 9"
#   make test-pure  the quick tests, without TVM or a C compiler      make golden   rewrite golden files
#   make wheel    build the wheel, install it elsewhere, use it      make clean    remove what was built, not .venv
#   make test-qemu  the portable artifact as older processors (apt)   make readme   rewrite the README's table of what is supported
#   make test-gpu   kernels and models on the GPU of this machine     make bench-gpu  their speed; gpu-kit makes what another one needs
#   make peers    build the peers that make bench measures beside llmc, for this processor

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PY := $(BIN)/python
DEMO := build/demo.llmc
MODEL := examples/pydocs-q4_k_m.gguf
BENCH ?=
KIT ?=
PEERS := build/peers

.DEFAULT_GOAL := demo
.PHONY: demo test test-pure test-qemu check types wheel bench peers gpu-kit test-gpu bench-gpu golden readme clean

$(PY):
	$(PYTHON) -m venv .venv

.venv/.user: pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/.dev: pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[cuda,test,check]'
	touch $@ .venv/.user

demo: .venv/.user
	$(BIN)/llmc compile $(MODEL) --target cpu:native -o $(DEMO)
	@printf '\nThe following example shows how to'
	@$(BIN)/llmc run $(DEMO) -p "The following example shows how to" -n 48
	@printf '\n\nThe artifact is %s. Run it: %s. Look inside: %s.\n' \
	  $(DEMO) '$(BIN)/llmc run $(DEMO) -p "TEXT"' '$(BIN)/llmc inspect $(DEMO)'

test: .venv/.dev
	$(PY) -m pytest -n auto --dist loadfile

test-pure: .venv/.dev
	$(PY) -m pytest tests/ir tests/frontend tests/passes tests/cli tests/test_architecture.py

test-qemu: .venv/.dev
	command -v qemu-x86_64 || (apt-get update && apt-get install -y qemu-user)
	$(PY) -m pytest tests/e2e/test_qemu.py -m qemu

check: types
	$(BIN)/ruff check .

# mypy cannot see through the package map, so it reads a view of the tree as it is installed: build/view/llmc.
types: .venv/.dev
	@rm -rf build/view && mkdir -p build/view/llmc
	@ln -s $(addprefix $(CURDIR)/,$(wildcard compiler/*) frontend passes codegen runtime templates) build/view/llmc
	MYPYPATH=build/view $(PY) -m mypy -p llmc

# What a user gets: the wheel, in a virtual environment of its own, away from the tree.
wheel: .venv/.user
	rm -rf build/wheel build/lib build/bdist.* && $(PY) -m pip wheel --quiet --no-deps -w build/wheel .
	$(PYTHON) -m venv build/wheel/venv && build/wheel/venv/bin/pip install --quiet build/wheel/*.whl
	cd build/wheel && venv/bin/llmc compile $(CURDIR)/$(MODEL) --target cpu:native -o demo.llmc
	cd build/wheel && venv/bin/llmc run demo.llmc -p "The following example shows how to" -n 16

.venv/.bench: .venv/.dev
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	touch $@ .venv/.dev .venv/.user

bench: .venv/.bench
	$(PY) -m benchmarks.run $(BENCH)

# About a quarter of an hour: llama.cpp is compiled for this processor. gcc_amx.h repairs what older gcc would make of it.
peers:
	$(PYTHON) -m venv $(PEERS)
	CMAKE_ARGS='-DGGML_NATIVE=ON -DCMAKE_CXX_FLAGS="-include $(CURDIR)/benchmarks/peers/gcc_amx.h"' \
	  $(PEERS)/bin/pip install --no-cache-dir --no-binary llama-cpp-python llama-cpp-python==0.3.36 ctranslate2==4.8.5

# What a machine with a GPU is given: KIT="--target cuda:sm_80 --model NAME=MODEL.gguf". The script also runs there on its own.
gpu-kit: .venv/.dev
	$(PY) -m benchmarks.gpu.kit build/gpu-kit $(KIT)

build/gpu-kit/run.py:
	$(MAKE) gpu-kit

test-gpu: build/gpu-kit/run.py
	$(PY) build/gpu-kit/run.py --only tests

bench-gpu: build/gpu-kit/run.py
	$(PY) build/gpu-kit/run.py --only bench

golden: .venv/.dev
	$(PY) -m pytest tests/ir tests/passes tests/codegen --bless

readme: .venv/.user
	$(PY) -m tests.readme_table

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis
