# `just` alone: lint, types and tests.
default: lint types test

# The README's test command.
test *ARGS:
    uv run pytest {{ARGS}}

# Minutes of work: kill tests on Ray, Airflow in an environment of its own.
test-slow *ARGS:
    uv run pytest -m slow {{ARGS}}

lint:
    uv run ruff check .
    uv run ruff format --check .

format:
    uv run ruff check --fix .
    uv run ruff format .

types:
    uv run pyright

demo *ARGS:
    uv run pairmill demo {{ARGS}}

# Side-by-side benchmarks: `just bench download`.
bench NAME *ARGS:
    uv run python -m bench {{NAME}} {{ARGS}}
