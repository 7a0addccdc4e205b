# Everything starts from a bare Debian or Ubuntu machine with make and Python: `make demo`, `make test`.
#   PYTHON=python3.12       the Python that makes the environment, 3.11 to 3.13
#   TORCH_INDEX_URL=...     where pip takes PyTorch from, instead of its usual index
#   INSHADER_NO_GL=1        this machine has no OpenGL, and that is meant

PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/quickstart

.PHONY: demo test lint doctor install clean gl window

demo: install gl
	rm -rf $(DEMO)
	$(BIN)/render-train quickstart --out $(DEMO)
	@echo 'The picture: $(DEMO)/comparison.png'

test: lint gl window
	$(BIN)/pytest -ra -m 'not slow and not gpu'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy render training scenes viewer

doctor: install gl
	$(BIN)/render-train --doctor

install: .venv/.installed

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- Python --------------------------------------------------------------------------------------------------

# Prints the installed PyTorch as a requirement; fails where there is none in the range of pyproject.toml.
FITTING_TORCH := 'from importlib.metadata import version; v = version("torch").split("+")[0]; \
	assert (2, 11) <= tuple(map(int, v.split(".")[:2])) < (2, 14); print("torch==" + v)' 2>/dev/null

# A machine's own PyTorch is used where it fits. Debian keeps ensurepip apart from Python.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
		{ echo "Inshader needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing):" \
		'name another with make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call apt,python3-venv) || \
		{ echo '$(PYTHON) cannot make environments: sudo apt install python3-venv' >&2; exit 1; }
	@echo 'Making the environment .venv'
	@$(PYTHON) -m venv $$($(PYTHON) -c $(FITTING_TORCH) >&2 && echo --system-site-packages) .venv || \
		{ rm -rf .venv; exit 1; }

# A PyTorch that fits is kept, else TORCH_INDEX_URL serves PyTorch alone and the usual index what it needs.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@$(BIN)/python -c $(FITTING_TORCH) > .venv/torch.txt || grep '^torch==' constraints.txt > .venv/torch.txt
	@{ cat .venv/torch.txt; grep -v '^torch==' constraints.txt; } > .venv/constraints.txt
ifdef TORCH_INDEX_URL
	$(BIN)/python -m pip install --no-deps --index-url '$(TORCH_INDEX_URL)' -r .venv/torch.txt
endif
	@rm -rf inshader.egg-info # an old one would hide new entry points
	$(BIN)/python -m pip install -c .venv/constraints.txt -e '.[all]'
	@touch $@

# --- OpenGL --------------------------------------------------------------------------------------------------

# Neither stops the build: training needs no OpenGL, and the tests that do say so.
gl: install
	@[ "$$INSHADER_NO_GL" = 1 ] || $(GL_WORKS) || { $(call apt,$(GL_PACKAGES)) && $(GL_WORKS); } || \
		echo 'No OpenGL context can be made here. On Debian or Ubuntu: sudo apt install $(GL_PACKAGES)' >&2

window:
	@[ "$$INSHADER_NO_GL" = 1 ] || $(WINDOW_WORKS) || $(call apt,$(WINDOW_PACKAGES)) || \
		echo 'The window tests will be skipped. On Debian or Ubuntu: sudo apt install $(WINDOW_PACKAGES)' >&2

GL_PACKAGES := libegl1 libgl1-mesa-dri
GL_WORKS = $(BIN)/python -c 'from render.context import create_context; create_context()' >/dev/null 2>&1
WINDOW_PACKAGES := xvfb xdotool libgl1
WINDOW_WORKS = { command -v Xvfb && command -v xdotool; } >/dev/null

# $(call apt,packages): install them if this user may; fails if not.
ROOT := $(if $(filter-out 0,$(shell id -u)),sudo -n) env DEBIAN_FRONTEND=noninteractive
apt = { command -v apt-get && $(ROOT) true && { $(ROOT) apt-get update; \
	$(ROOT) apt-get install -y --no-install-recommends $(1); }; } >/dev/null 2>&1
