#!/usr/bin/env bash
# Write requirements/*.txt from pyproject.toml: exact versions, hashes, and no package index, so that
# the same files serve whoever installs from a mirror. $1 is the Python environment.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
# pip-tools has needs of its own, which are no part of what it locks.
"${1:-.venv}/bin/python" -m venv "$tools"
"$tools/bin/python" -m pip --disable-pip-version-check --quiet install pip-tools

# Hashes must be those of published files, so directories of local builds are left out.
export PIP_FIND_LINKS=
compile=("$tools/bin/pip-compile" --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe
    --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host)
"${compile[@]}" --output-file requirements/base.txt pyproject.toml
"${compile[@]}" --extra dev --constraint requirements/base.txt \
    --output-file requirements/dev.txt pyproject.toml

if grep -nE '^-|://| @ ' requirements/*.txt; then
    echo "lock: the lines above name a place; remove them" >&2
    exit 1
fi
