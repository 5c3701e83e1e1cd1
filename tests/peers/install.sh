#!/bin/sh
# Installs what the system tests check against and nobody here wrote: the real Claude Code CLI, opencode, GitHub's API description,
# axe-core, an emulator of Twilio and Prism from npm, Twilio's own library from PyPI. Pinned in package-lock.json and requirements.txt; goes to
# target/peers; silent and quick when everything is there already.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
peers="$here/../../target/peers"
mkdir -p "$peers"
peers=$(cd "$peers" && pwd)

need() {
    command -v "$1" >/dev/null 2>&1 || { echo "install.sh: $1 is missing; install $2" >&2; exit 1; }
}

# run NAME COMMAND...: shows the output only of a step that failed.
run() {
    log="$peers/$1.log"
    shift
    "$@" >"$log" 2>&1 || { cat "$log" >&2; echo "install.sh: failed: $*" >&2; exit 1; }
}

# A package-lock.json copied last is the mark of an installation that was finished.
if ! cmp -s "$here/package-lock.json" "$peers/node/installed.json"; then
    need npm "Node 20 with npm"
    echo "installing test peers from npm" >&2
    mkdir -p "$peers/node"
    cp "$here/package.json" "$here/package-lock.json" "$peers/node/"
    run npm npm ci --prefix "$peers/node" --ignore-scripts --omit=dev --no-audit --no-fund --loglevel=error
    cp "$here/package-lock.json" "$peers/node/installed.json"
fi

if ! cmp -s "$here/requirements.txt" "$peers/python/installed.txt"; then
    need python3 "Python 3.11"
    echo "installing test peers from PyPI" >&2
    rm -rf "$peers/python"
    set -- --quiet --disable-pip-version-check --no-input --requirement "$here/requirements.txt"
    # Debian has venv's module in every python3, but ensurepip only with python3-venv.
    if python3 -c 'import ensurepip' 2>/dev/null; then
        run venv python3 -m venv "$peers/python"
        run pip "$peers/python/bin/python" -m pip install "$@"
    else
        need pip3 "python3-venv or python3-pip"
        run pip pip3 install --target "$peers/python" "$@"
    fi
    cp "$here/requirements.txt" "$peers/python/installed.txt"
fi
