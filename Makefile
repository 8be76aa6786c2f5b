# Works from a fresh clone with python3 (3.11 or later), make and a package index: `make run`, `make test`.
#   make run ARGS="--listen 0.0.0.0:8080"      further arguments for `pyproxy serve`
#   make test ARGS="-k page"                   further arguments for pytest
#   make run PYTHON=/path/to/python3           the interpreter that .venv is made with

ARGS ?=
PYTHON ?=
VENV := .venv
IN_VENV := $(VENV)/bin/python
INSTALL := $(IN_VENV) -m pip install --quiet --disable-pip-version-check --no-input --no-user

# As pip does it with what it copies: where PYTHONDONTWRITEBYTECODE is set, each start would compile all modules.
COMPILE := $(IN_VENV) -m compileall -q pyproxy

.PHONY: help run test lint bench clean
.DELETE_ON_ERROR:

help:
	@echo 'make run    serve the machine'"'"'s own index on http://127.0.0.1:7974/simple/'
	@echo 'make test   every test that needs no outside network'
	@echo 'make lint   ruff and mypy'
	@echo 'make bench  the benchmarks in bench/'
	@echo 'make clean  remove .venv and what the tools left behind'

run: $(VENV)/.installed
	@exec $(IN_VENV) -m pyproxy serve $(ARGS)

# Modules that changed are compiled anew, for the daemons that tests start; tests themselves are kept compiled too.
test: $(VENV)/.installed-tests
	@$(COMPILE)
	@exec env PYTHONDONTWRITEBYTECODE= $(IN_VENV) -m pytest --quiet -n auto --dist worksteal $(ARGS)

lint: $(VENV)/.installed-tests
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m ruff format --check .
	@$(IN_VENV) -m mypy pyproxy tests $(wildcard bench/*.py)

bench: $(VENV)/.installed-tests
	@exec $(IN_VENV) -m bench $(ARGS)

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say what was installed from this pyproject.toml: the package alone to run it, more to test it.
$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	@echo 'installing pyproxy into $(VENV)'
	@$(INSTALL) --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-tests: pyproject.toml | $(VENV)/.made
	@echo 'installing pyproxy and what its tests need into $(VENV)'
	@$(INSTALL) --editable '.[tests]'
	@$(COMPILE)
	@touch $@ $(VENV)/.installed

# Plain python3 where it is new enough, else the newest that is. A name on PATH may be a shim that runs nothing:
# each candidate has to answer. Some systems ship venv without pip; the system's own pip then puts one in.
$(VENV)/.made:
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	test -n "$$python" || { echo 'Python 3.11 or later is needed: make PYTHON=/path/to/python3' >&2; exit 1; }; \
	echo "making $(VENV) with $$($$python --version)"; \
	"$$python" -m venv --clear $(VENV) >$(VENV).log 2>&1 || { \
		"$$python" -m venv --clear --without-pip $(VENV) && \
		"$$python" -m pip --python $(VENV) install --quiet --no-input pip; \
	} >>$(VENV).log 2>&1 || { cat $(VENV).log >&2; rm -rf $(VENV) $(VENV).log; exit 1; }; \
	rm -f $(VENV).log
	@touch $@
