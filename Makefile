# make demo   make the embedded class, train on it, and show what came of it
# make test   run every test
# make test-fast  run the units and one training, while you work
# make test-viser  run the viewer panel's tests with a newer viser than nerfstudio's
# make lint   formatting, common errors, types
# make clean  remove the environment and everything made from it
#
# Each makes its environment first, in .venv, unless it is there: CPython 3.10 to 3.12, pip, 9 GB.

SHELL := /bin/bash
PYTHON ?= python3
DEMO_DIR ?= demo
VENV := $(CURDIR)/.venv
INSTALLED := $(VENV)/.installed
NEWER_VISER := viser==1.1.1 'websockets>=13.1,<17' zstandard
FAST := $(addprefix tests/,cameras dataset_format fields latents model rendering utils runs/test_run.py \
	training/test_optimizers.py test_rooms.py test_repository.py)
export PATH := $(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test test-fast test-viser lint types clean

install: $(INSTALLED)

# nerfstudio and mediapipe each bring a package of the module cv2, and mediapipe's needs the system's libGL: one that
# holds everything and needs nothing takes the place of both. ns-render calls ffmpeg by name.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
		|| { echo "make: $(PYTHON) is not CPython 3.10 to 3.12; call make with PYTHON=python3.11" >&2; exit 2; }
	@echo "Installing into $(VENV): a few minutes, 9 GB."
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(VENV)/bin/pip uninstall --quiet --yes opencv-python-headless opencv-contrib-python
	$(VENV)/bin/pip install --quiet --no-deps --force-reinstall --constraint constraints.txt \
		opencv-contrib-python-headless
	command -v ffmpeg > /dev/null || ln -sf \
		"$$($(VENV)/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" \
		$(VENV)/bin/ffmpeg
	touch $@

demo: $(INSTALLED)
	nerfgen demo --output-dir $(DEMO_DIR)

test: $(INSTALLED)
	python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-fast: $(INSTALLED)
	python -m pytest -q -n 2 --dist loadfile $(FAST)

# In a folder of its own: nerfstudio's requirements pin the older one, and both are tested.
test-viser: $(INSTALLED)
	test -d build/viser || pip install --quiet --no-deps --target build/viser $(NEWER_VISER)
	PYTHONPATH=$(CURDIR)/build/viser python -m pytest -q -m 'not browser' tests/viewer

lint: $(INSTALLED) types
	ruff check .
	ruff format --check .

# mypy reads folders as packages: it gets the package as it is installed, with fields/ and datamanagers/ inside.
types: $(INSTALLED)
	@rm -rf build/types && mkdir -p build/types/nerfgen_ns
	@ln -s $(CURDIR)/nerfgen_ns/* $(CURDIR)/datamanagers $(CURDIR)/fields build/types/nerfgen_ns/
	cd build/types && mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p nerfgen_ns

clean:
	rm -rf $(VENV) build $(DEMO_DIR) *.egg-info .pytest_cache .ruff_cache .mypy_cache
