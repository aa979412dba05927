#!/usr/bin/env bash
# Prepare this machine: PostgreSQL with PostGIS, and the Python environment given as $1.
# Installs only what is missing; with everything in place it takes a fraction of a second.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${1:-.venv}"

fail() {
    echo "setup: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

lists_are_fresh=

# Install Debian packages; the package lists are fetched before the first of them.
install_packages() {
    command -v apt-get >/dev/null ||
        fail "these packages are missing and this is not Debian or Ubuntu, install them yourself: $*"
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        fail "no rights to install packages: as root, run: apt-get install $*"
    echo "setup: installing $*" >&2
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300)
    if [ -z "$lists_are_fresh" ]; then
        as_root "${apt[@]}" update >&2 </dev/null || fail "apt-get could not fetch its lists"
        lists_are_fresh=yes
    fi
    as_root "${apt[@]}" install --no-install-recommends "$@" >&2 </dev/null ||
        fail "apt-get could not install $*"
}

newest_server() {
    local server
    for server in /usr/lib/postgresql/*/bin/postgres; do
        [ ! -x "$server" ] || echo "$server"
    done | cut -d/ -f5 | sort -n | tail -1
}

postgis_for() {
    [ -e "/usr/share/postgresql/$1/extension/postgis.control" ]
}

usable_server_exists() {
    local server
    for server in /usr/lib/postgresql/*/bin/postgres; do
        local major="${server#/usr/lib/postgresql/}"
        major="${major%%/*}"
        if [ -x "$server" ] && [ "$major" -ge 15 ] && postgis_for "$major"; then
            return 0
        fi
    done
    # A PostgreSQL built from source or by another package manager.
    command -v postgres >/dev/null && command -v pg_config >/dev/null &&
        [ -e "$(pg_config --sharedir)/extension/postgis.control" ]
}

# Debian's package makes and starts a cluster of its own; ours is private and needs none.
# Machines that have PostgreSQL already keep their configuration and their clusters.
without_default_cluster() {
    local configuration=/etc/postgresql-common/createcluster.conf
    if [ ! -e "$configuration" ]; then
        install_packages postgresql-common
        as_root sed -i -E 's/^#? *create_main_cluster *=.*/create_main_cluster = false/' \
            "$configuration"
    fi
}

prepare_postgresql() {
    usable_server_exists && return
    local major
    major="$(newest_server)"
    if [ -z "$major" ] || [ "$major" -lt 15 ]; then
        without_default_cluster
        # `postgresql` is the release the distribution supports; its number tells which PostGIS fits.
        install_packages postgresql
        major="$(newest_server)"
    fi
    postgis_for "$major" || install_packages "postgresql-$major-postgis-3"
    usable_server_exists || fail "PostgreSQL 15 or newer with PostGIS is needed; after installing, \
PostgreSQL $major is here and $(postgis_for "$major" && echo "too old" || echo "has no PostGIS")"
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

prepare_python() {
    local lock=requirements/dev.txt stamp="$venv/.installed" python wanted
    if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
        python="$(find_python)"
        if [ -z "$python" ]; then
            install_packages python3 python3-venv
            python="$(find_python)"
        fi
        [ -n "$python" ] || fail "Python 3.11 or newer is needed"
        # Debian keeps the part of venv that brings pip in a package of its own.
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            install_packages "$(basename "$(readlink -f "$python")")-venv"
        fi
        rm -rf "$venv"
        "$python" -m venv "$venv"
    fi
    # The editable install depends on the place of the checkout and on pyproject.toml.
    wanted="$(pwd) $(cat "$lock" pyproject.toml | sha256sum | cut -d' ' -f1)"
    if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        echo "setup: installing the Python packages of $lock" >&2
        local pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
        "${pip[@]}" install --require-hashes -r "$lock" >&2
        "${pip[@]}" install --no-deps --no-build-isolation -e . >&2
        echo "$wanted" >"$stamp"
    fi
}

prepare_postgresql
prepare_python
