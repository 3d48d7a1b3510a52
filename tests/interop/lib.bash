# Sourced by the interop scripts: a server with users and machines, and the foreign clients that talk to it.
# Not a script by itself: tests/interop/run starts only *.sh.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# What the foreign tools said and where it stopped: `set -e` alone ends in silence.
set -E
trap 'echo "FAILED: ${BASH_SOURCE[0]##*/}:$LINENO, called from line ${BASH_LINENO[*]}: $BASH_COMMAND" >&2; [ ! -s "${work-}/server.log" ] || tail -n 20 "$work/server.log" >&2' ERR
. "$here/../e2e/lib.bash"

tools=$(bash "$here/tools.bash") || { status=$?; tail -n 1 <<<"$tools"; exit "$status"; }
govc_program=$(sed -n 's/^govc=//p' <<<"$tools")
python=$(sed -n 's/^python=//p' <<<"$tools")

# Whatever the one who runs this has set for govc must not decide what is tested.
unset "${!GOVC_@}" "${!GOVMOMI_@}"
export GOVC_INSECURE=true GOVC_PERSIST_SESSION=false GOVMOMI_HOME="$work/govmomi" PYTHONDONTWRITEBYTECODE=1
export TZ=UTC

# Passwords of the three users every server here has.
admin_password=ship-of-theseus
operator_password=rope-and-tar
reader_password=looking-glass

# site [more TOML] [scheme of device URLs]: a configuration with users; `more` adds machines, datastores, limits.
site() {
    config "${2-https}" "
[user.captain]
role = \"admin\"
password = \"$admin_password\"
[user.deckhand]
role = \"operator\"
password = \"$operator_password\"
[user.passenger]
role = \"reader\"
password = \"$reader_password\"
${1-}"
}

# sail [command in front]: starts the server; govc talks to it as captain.
sail() {
    start "$@"
    sdk=$(jq -r .control "$work/serve.json")
    export SDK_HOST=${sdk#https://}
    export SDK_PORT=${SDK_HOST##*:}
    SDK_HOST=${SDK_HOST%:*}
    as captain "$admin_password"
}

# as <user> <password>: who govc and the Python programs are from now on.
as() {
    export SDK_USER=$1 SDK_PASSWORD=$2
    export GOVC_URL="https://$1:$2@$SDK_HOST:$SDK_PORT/sdk"
}

# Every call ends: an answer that makes a client loop must fail a test, not hold it.
govc() { timeout --kill-after=5 "${limit_s-120}" "$govc_program" "$@"; }
# program <file> [arguments]: one of the Python programs here.
program() { timeout --kill-after=5 "${limit_s-300}" "$python" "$here/$1" "${@:2}"; }

# refused <extended regular expression> <command>: it must fail, and what it says must match.
refused() {
    local expected=$1 said
    shift
    if said=$("$@" 2>&1); then die "'$*' should have failed, it said: $said"; fi
    grep -Eq -- "$expected" <<<"$said" || die "'$*' should have said '$expected', it said: $said"
}

# says <extended regular expression> <text>
says() { grep -Eq -- "$1" <<<"$2" || die "expected '$1' in: $2"; }
silent_about() { if grep -Eq -- "$1" <<<"$2"; then die "did not expect '$1' in: $2"; fi; }

# backing <machine> <number of the disk, from 0>: the file under the datastore directory that holds that disk.
backing() {
    local path
    path=$(govc object.collect -json "vm/$1" config.hardware.device |
        jq -r "[.. | objects | select(has(\"CapacityInKB\")) | .Backing.FileName][$2]")
    [ -n "$path" ] && [ "$path" != null ] || die "machine $1 has no disk $2"
    echo "$work/ds/${path#"[default] "}"
}

# same_disk <raw disk> <disk of the server, or a VMDK>: qemu-img is the judge, also of a descriptor that names the contents beside it.
same_disk() {
    local format=raw
    [ -s "$2" ] || die "$2 is missing or empty"
    case $(head -c 4 "$2" | tr -d '\0') in KDMV | '# Di') format=vmdk ;; esac
    identical raw "$format" "$1" "$2"
}

# stored: every file in the datastore, what a failed import must leave as it was.
stored() { (cd "$work/ds" && find . -mindepth 1 | sort); }
machines() { govc ls vm | sort; }

# until_true <seconds> <command>: asks until it succeeds.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -le "$end" ] || die "not within time: $*"
        sleep 0.2
    done
}

# ovf <name> <file:id:capacity in bytes>... : an OVF with these disks, in order. Sizes are those of the files in $PWD.
ovf() { "$python" "$here/make_ovf.py" "$@"; }
# ova <file.ova> <member>...: the descriptor comes first, as the standard wants.
ova() { tar --format=ustar --owner=0 --group=0 -cf "$1" "${@:2}"; }
