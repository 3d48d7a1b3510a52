# Sourced by tests/guest/run: the initial file system of the guest, with everything that runs there.
# Needs what packages.bash has fetched. Guarantees: a program goes in with every shared library it asks for.

# Loaded at boot by tests/guest/init; what they depend on is added. The ciphers are asked for by name, through the kernel's
# crypto interface, and would be found missing (ENOENT) by nobody but TLS.
guest_modules=(tls gcm ctr ghash-generic ghash-clmulni-intel aesni-intel seqiv chacha20poly1305 chacha-x86_64 poly1305-x86_64
    nvme dm-mod dm-flakey sch_netem ext4 crc32c-intel)

# make_image <target> <kernel directory> <diskferry> <tests/guest>
make_image() {
    local target=$1 kernel=$2 diskferry=$3 guest=$4 root="$run/root" pair
    mkdir -p "$root"/{bin,usr/bin,guest,proc,sys,dev,tmp,run}
    cp "$kernel/busybox" "$root/bin/busybox"
    ln -s busybox "$root/bin/sh"
    for pair in "${guest_tools[@]}"; do add_program "$root" "$(command -v "${pair%%:*}")"; done
    add_program "$root" "$diskferry" diskferry
    # Only debug information: symbols stay, for backtraces.
    strip --strip-debug "$root/usr/bin/diskferry"
    add_modules "$root" "$kernel"
    cp "$guest/init" "$root/init"
    cp -r "$guest"/{main.bash,lib.bash,checks} "$root/guest/"
    chmod +x "$root/init"
    (cd "$root" && find . | "$kernel/busybox" cpio -o -H newc --quiet) >"$target" 2>"$run/cpio.log" ||
        { cat "$run/cpio.log" >&2; die "the initial file system was not made"; }
    rm -rf "$root"
}

# add_program <root> <program> [name]
add_program() {
    local root=$1 program name=${3-$(basename "$2")} library
    program=$(realpath "$2")
    cp "$program" "$root/usr/bin/$name"
    ! ldd "$program" 2>/dev/null | grep "not found" >&2 || die "$program lacks a shared library"
    # "name => path (address)" or, for the loader, "path (address)".
    for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
        [ -e "$root$library" ] || { mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"; }
    done
}

# Modules that the kernel has built in, or under another name in another version, are not missed here: the checks miss them.
add_modules() {
    local root=$1 kernel=$2 version module file
    version=$(cat "$kernel/version")
    for module in "${guest_modules[@]}"; do
        for file in $(modprobe -d "$kernel" -S "$version" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }'); do
            file=lib/modules/${file##*/lib/modules/}
            mkdir -p "$root/$(dirname "$file")"
            cp "$kernel/$file" "$root/$file"
        done
    done
    cp "$kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$version/"
    depmod -b "$root" "$version"
    printf '%s\n' "${guest_modules[@]}" >"$root/guest/modules"
}
