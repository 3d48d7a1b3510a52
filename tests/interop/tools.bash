#!/usr/bin/env bash
# The foreign clients the interop tests run: govc and vcsim 0.24 out of Debian's source package, pyvmomi in a Python environment.
# Builds what is missing, once; later runs find it in the cache. Prints one line each: govc=PATH, vcsim=PATH, python=PATH.
# Ends with 77 and a reason where it cannot (no root, no apt, nothing to download from).
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/diskferry-interop
govc_version=0.24
pyvmomi_version=9.1.1.0
# The Go tool chain and the two libraries govmomi's commands import; the source package has everything else.
packages=(ca-certificates dpkg-dev xz-utils golang-go golang-github-google-uuid-dev golang-github-kr-pretty-dev)

scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT

not_run() { echo "$*"; exit 77; }

# step <what it does> <command>: quiet unless it fails.
step() {
    local what=$1
    shift
    "$@" >"$scratch/log" 2>&1 && return 0
    tail -n 20 "$scratch/log" >&2
    not_run "cannot $what"
}

# Source entries are rarely configured. The binary ones, turned into source entries in a directory of our own, leave the system as it is.
apt_source() {
    apt-get -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$scratch/sources" -o "Dir::State::lists=$scratch/lists" \
        -o "Dir::Cache=$scratch/cache" -o APT::Sandbox::User=root "$@"
}

source_entries() {
    local file
    mkdir -p "$scratch/sources" "$scratch/lists/partial" "$scratch/cache/archives/partial"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ ! -e "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$scratch/sources/${file##*/}"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -e "$file" ] || sed -n 's/^deb\([[:space:]]\)/deb-src\1/p' "$file" >"$scratch/sources/from-${file##*/}"
    done
    # apt takes only files with these two endings.
    [ ! -e "$scratch/sources/from-sources.list" ] || mv "$scratch/sources/from-sources.list" "$scratch/sources/from-main.list"
}

install_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || not_run "needs root to install ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    step "update the package lists" apt-get update -qq
    step "install ${missing[*]}" apt-get install -qq -y --no-install-recommends --no-remove "${missing[@]}"
}

build_govc() {
    command -v apt-get >/dev/null || not_run "govc is built from a Debian source package: there is no apt-get"
    install_packages "${packages[@]}"
    source_entries
    step "update the source lists" apt_source update -qq
    mkdir -p "$scratch/download" "$scratch/go/src/github.com/vmware"
    cd "$scratch/download"
    step "download govmomi's source package" apt_source source --download-only golang-github-vmware-govmomi
    tar xf golang-github-vmware-govmomi_*.orig.tar.xz
    mv govmomi-* "$scratch/go/src/github.com/vmware/govmomi"
    cd "$scratch"
    # GOPATH mode: Debian's libraries are not modules, and nothing may be fetched.
    export CGO_ENABLED=0 GO111MODULE=off GOFLAGS='' GOPATH="$scratch/go:/usr/share/gocode" GOCACHE="$scratch/go-cache"
    local program
    for program in govc vcsim; do
        step "build $program" /usr/bin/go build -o "$scratch/$program" "github.com/vmware/govmomi/$program"
    done
    grep -q "$govc_version" <<<"$("$scratch/govc" version)" || not_run "the source package holds $("$scratch/govc" version), not $govc_version"
    # A rename is what makes them exist: a build cut short leaves nothing behind.
    mv "$scratch/vcsim" "$cache/vcsim"
    mv "$scratch/govc" "$cache/govc"
}

build_python() {
    local python
    # Debian's own Python cannot make environments without this package; another one can already.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3 python3-venv
    step "make a Python environment" python3 -m venv "$scratch/python"
    python=$scratch/python/bin/python
    "$python" -m pip install -q "pyvmomi==$pyvmomi_version" >"$scratch/log" 2>&1 ||
        step "install pyvmomi" "$python" -m pip install -q 'pyvmomi>=9,<10'
    # The environment names its own path; pip's is not needed any more, python's is a link, so moving it is safe.
    rm -rf "$cache/python"
    mv "$scratch/python" "$cache/python"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
scratch=$(mktemp -d "$cache/build-XXXXXX")

[ -x "$cache/govc" ] && [ -x "$cache/vcsim" ] || build_govc
"$cache/python/bin/python" -c 'import pyVmomi' 2>/dev/null || build_python
"$cache/python/bin/python" -c 'import pyVmomi' || not_run "pyvmomi does not load"

echo "govc=$cache/govc"
echo "vcsim=$cache/vcsim"
echo "python=$cache/python/bin/python"
