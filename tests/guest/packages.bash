# Sourced by tests/guest/run: the tools, the emulator and the kernel, from the package sources this machine has.
# Guarantees: nothing that is installed is removed or replaced for it; what cannot be had ends the run with 77 and a reason.

# tool:package; those that go into the guest (image.bash) and those that build its image.
# busybox has a head and a tail too, but they go byte by byte.
guest_tools=(bash:bash jq:jq curl:curl openssl:openssl cmp:diffutils sha1sum:coreutils head:coreutils tail:coreutils
    tc:iproute2 dmsetup:dmsetup mke2fs:e2fsprogs)
build_tools=(depmod:kmod ldd:libc-bin strip:binutils flock:util-linux dpkg-deb:dpkg apt-get:apt)

# apt_install <packages>: as root; fails without a word elsewhere.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" install -qq -y --no-install-recommends --no-remove "$@" \
        >"$run/install.log" 2>&1
}
apt_options=()

need_tools() {
    local pair packages=()
    for pair in "${guest_tools[@]}" "${build_tools[@]}"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    echo "installing ${packages[*]}" >&2
    apt_install "${packages[@]}" || { apt-get update -qq >/dev/null 2>&1 && apt_install "${packages[@]}"; } ||
        not_run "missing: ${packages[*]}"
}

# A newer qemu-img may be here than the release has an emulator for: then the emulator comes from backports too.
need_qemu() {
    command -v qemu-system-x86_64 >/dev/null && return 0
    echo "installing qemu-system-x86" >&2
    apt_install qemu-system-x86 || from_backports qemu-system-x86 || {
        [ ! -s "$run/install.log" ] || tail -n 5 "$run/install.log" >&2
        not_run "missing: qemu-system-x86"
    }
}

# from_backports <packages>: the lists are kept apart, so that the machine's own package sources stay as they are.
from_backports() {
    [ "$(id -u)" = 0 ] || return 1
    local release mirror lists="$cache/apt" list="$cache/apt.list"
    release=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v release="$release" '$1 == release { print $2; exit }')
    [ -n "$release" ] && [ -n "$mirror" ] || return 1
    mkdir -p "$lists/partial"
    {
        sources
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release-backports main"
    } >"$list"
    # Not among the lists themselves: apt removes from there what it does not know.
    local apt_options=(-o "Dir::Etc::SourceList=$list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$lists")
    apt-get "${apt_options[@]}" update -qq >"$run/install.log" 2>&1 || return 1
    apt_install -t "$release-backports" "$@"
}

# Debian's own sources of this machine, one per line.
sources() {
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk '$1 == "Debian" { print "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $2, $3, $4 }'
}

# fetch_kernel <directory>: vmlinuz, lib/modules/VERSION, version, busybox; nothing is done when they are there.
fetch_kernel() {
    local directory=$1 image unpacked="$run/unpacked"
    [ ! -s "$directory/version" ] || return 0
    image=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-/ { print $2; exit }')
    [ -n "$image" ] || not_run "the package sources of this machine have no linux-image-amd64"
    echo "fetching $image and busybox-static" >&2
    mkdir -p "$run/packages"
    download "$image" busybox-static || {
        # The lists may name versions that are gone.
        [ "$(id -u)" = 0 ] && apt-get update -qq >"$run/install.log" 2>&1 && download "$image" busybox-static
    } || not_run "cannot download $image and busybox-static"
    for package in "$run"/packages/*.deb; do dpkg-deb -x "$package" "$unpacked"; done
    rm -rf "$directory"
    mkdir -p "$directory/lib"
    # Where /lib is /usr/lib, packages say either.
    local modules=("$unpacked"/lib/modules/* "$unpacked"/usr/lib/modules/*)
    for found in "${modules[@]}"; do [ ! -d "$found/kernel" ] || mv "$found" "$run/modules"; done
    local kernels=("$unpacked"/boot/vmlinuz-*) busyboxes=("$unpacked"/bin/busybox "$unpacked"/usr/bin/busybox)
    local version=${kernels[0]##*/vmlinuz-}
    mkdir -p "$directory/lib/modules"
    mv "$run/modules" "$directory/lib/modules/$version"
    mv "${kernels[0]}" "$directory/vmlinuz"
    for found in "${busyboxes[@]}"; do [ ! -f "$found" ] || mv "$found" "$directory/busybox"; done
    # busybox loads plain modules only.
    find "$directory/lib/modules" -name '*.ko.xz' -exec xz -d {} +
    depmod -b "$directory" "$version"
    # Last: a directory without it is one that was not finished.
    echo "$version" >"$directory/version"
}

download() { (cd "$run/packages" && apt-get download -qq "$@") >"$run/install.log" 2>&1; }
