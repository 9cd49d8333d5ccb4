# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
BIN := $(VENV)/bin
CORE := $(wildcard disklog_mp/csrc/*/*.[ch]) pyproject.toml
TORTURE_MINUTES ?= 10
FUZZ_SECONDS ?= 3600
CLANG ?= clang
JOBS ?= 6
# Unit tests never wait: more workers than cores only import more.
WORKERS ?= $(if $(filter tests/unit%,$(TESTS)),2,4)
BENCH ?=
NOX = $(BIN)/python -m nox --noxfile tests/noxfile.py
PYTHON_TESTS ?=
INSTRUCTIONS ?=
TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format coverage integrations sanitize arm64 stress model faults bench costs instructions torture pythons dist nightly nuitka test-seeds clean long fuzz

help: ## what there is to make
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

# The package alone, as a user installs it (but editable, so that a change shows at once).
$(VENV)/installed: $(VENV)/pyvenv.cfg $(CORE)
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m compileall -q disklog_mp
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

$(VENV)/installed-lint: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --editable '.[lint]'
	@touch $@

$(VENV)/installed-integrations: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --editable '.[integrations]'
	@touch $@

$(VENV)/installed-nuitka: $(VENV)/installed-integrations
	$(BIN)/python -m pip install --quiet --editable '.[nuitka]'
	@touch $@

demo: $(VENV)/installed ## the main job on real input: a pool of processes logs, a reader follows
	$(BIN)/disklog-mp demo

test: $(VENV)/installed-test ## all tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(TESTS)

integrations: $(VENV)/installed-integrations ## real servers and pools, their workers killed (needs redis-server; INTEGRATION_SECONDS=20)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal tests/integrations tests/system/test_set_up.py

check: $(VENV)/installed-lint ## format, lint, types, stubs, layers
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest disklog_mp._core --mypy-config-file pyproject.toml \
	  --allowlist tests/stubtest-allowlist.txt --ignore-unused-allowlist
	$(BIN)/python -m pytest -q tests/rules --ignore tests/rules/test_examples.py --ignore tests/rules/test_readme.py

format: $(VENV)/installed-lint ## put the code into shape
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

coverage: $(VENV)/installed-test ## all tests, and which lines of Python they reach
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(TESTS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --show-missing --skip-covered --fail-under=95

sanitize: ## the C core under thread, address and undefined-behaviour sanitizers, and its mutants
	bash tests/native/run

arm64: ## the C sources compiled for x86-64 and arm64, and the core's tests run for arm64 (needs gcc-aarch64-linux-gnu, qemu-user)
	bash tests/native/processors

fuzz: ## the C core on what clang's fuzzer makes up, for FUZZ_SECONDS; what it finds is in build/fuzz
	mkdir -p build/fuzz/corpus
	$(CLANG) -std=gnu11 -g -O1 -DDL_REFRESH_LAPS=4 -DDL_LIBFUZZER -fsanitize=fuzzer,address,undefined \
	  -fno-sanitize-recover=all -Idisklog_mp/csrc/core tests/native/fuzz_frames.c \
	  $(addprefix disklog_mp/csrc/core/,ring.c frames.c crc32c.c) -o build/fuzz/frames
	build/fuzz/frames -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -artifact_prefix=build/fuzz/ \
	  build/fuzz/corpus tests/native/corpus

stress: ## what sanitize does, longer
	SECONDS_EACH=60 bash tests/native/run

model: ## the protocol's model, explored exhaustively (needs spin and gcc)
	tests/model/run

faults: $(VENV)/installed-test ## a process killed, frozen or failed at every step there is, alone and in pairs
	work=$$(mktemp -d) && trap 'rm -rf '$$work EXIT && core=$$(PYTHONPATH=tests $(BIN)/python -m deaths.faults.fault_core $$work) && \
	PYTHONPATH=tests $(BIN)/python -m deaths.faults.fault_walk --every --jobs $(JOBS) --core $$core --path $$work/logs

# The peers have an environment of their own, so that none of them is needed for anything else.
$(BENCH_VENV)/installed: $(CORE) tests/bench/requirements.txt tests/bench/install.py
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable '.[bench]'
	PYTHONPATH=tests $(BENCH_VENV)/bin/python -m bench.install
	@touch $@

bench: $(BENCH_VENV)/installed ## how fast it is on this machine, beside its peers (BENCH="call --quick")
	PYTHONPATH=tests $(BENCH_VENV)/bin/python -m bench $(BENCH)

costs: $(VENV)/installed ## what each log costs: processes, threads, memory, descriptors, /dev/shm
	PYTHONPATH=tests $(BIN)/python -m bench.log_costs $(COSTS)

instructions: $(VENV)/installed ## that append, drain and read take no more instructions than before (needs valgrind)
	PYTHONPATH=tests $(BIN)/python -m bench.instructions $(INSTRUCTIONS)

long: $(VENV)/installed-test ## 100,000 attached and detached again, 1,000 times two writers started at once
	DISKLOG_TEST_LONG=1 $(BIN)/python -m pytest -m long --timeout 3600 --durations 0

nuitka: $(VENV)/installed-nuitka ## a program compiled with Nuitka is the writer of its log
	DISKLOG_TEST_LONG=1 $(BIN)/python -m pytest -m long tests/integrations/test_starting.py

torture: $(VENV)/installed ## processes killed over and over, for TORTURE_MINUTES
	$(BIN)/python tests/deaths/torture.py $(TORTURE_MINUTES)

$(VENV)/installed-dist: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --editable '.[dist]'
	@touch $@

pythons: $(VENV)/installed-dist ## unit and system tests on each other CPython from 3.11 up found here (PYTHON_TESTS=tests/unit PYTHONS=3.13)
	$(NOX) -t tests -- $(PYTHON_TESTS)

# The wheel gets the tag of the oldest Linux that it runs on, is checked, and logs a record on each Python found.
dist: $(VENV)/installed-dist ## wheel and source distribution, in dist/, checked and tried
	rm -rf dist build/dist
	$(BIN)/python -m build --outdir build/dist
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python -m auditwheel repair --wheel-dir dist build/dist/*.whl
	cp build/dist/*.tar.gz dist
	$(BIN)/python -m auditwheel show dist/*.whl
	$(BIN)/python -m abi3audit --strict --verbose dist/*.whl
	$(NOX) -t wheel

# Each part goes on when one before it failed; the last line says which did.
NIGHTLY = test-seeds faults fuzz stress long torture integrations nuitka pythons
nightly: ## what takes hours: seeds of the day, all pairs of faults, an hour of fuzz, torture, Nuitka, all tests on other Pythons
	@failed=; for part in $(NIGHTLY); do \
	  echo "== $$part"; $(MAKE) --no-print-directory $$part PYTHON_TESTS="-n 2 --dist loadfile tests --ignore tests/deaths/faults" || failed="$$failed $$part"; \
	done; [ -z "$$failed" ] || { echo "nightly: failed:$$failed"; exit 1; }

test-seeds: $(VENV)/installed-test
	DISKLOG_TEST_SEED=today DISKLOG_TEST_TIMES=20 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --timeout 3600 $(TESTS)

clean: ## everything that was made
	rm -rf $(VENV) $(BENCH_VENV) build dist *.egg-info disklog_mp/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
