# Started by tests/guest/init in the guest: runs the checks of one group and reports on the second serial line.
#
#   plan NAME            one line per check, before the first
#   ok NAME              or "not ok NAME: why", or "not run NAME: why"
#   # ...                for people: what the server logged during a check that failed
#   done                 all have reported
#
# The group is named on the kernel's command line and is a file in checks/; first.bash comes before it, last.bash behind it.
# Each check is a function check_NAME, run in a process of its own, in the order of the lines; what one leaves for another is
# below /tmp/guest. It fails with the last line it wrote to standard error.
set -uo pipefail
exec 3>/dev/ttyS1
export TMPDIR=/tmp
mkdir -p /tmp/guest
cd /tmp/guest || exit 1
: >server.log

check_limit_s=60

say() { printf '%s\n' "$*" >&3; }

# The last line of a text, fit for one line of the report.
last_line() { grep -v '^[[:space:]]*$' "$1" | tail -n 1 | tr -cd ' -~' | cut -c 1-300; }

run_check() {
    local file=$1 name=$2 status=0 why begun logged
    begun=$(date +%s)
    logged=$(wc -l <server.log)
    timeout "$check_limit_s" bash -c 'set -euo pipefail; . /guest/lib.bash; . "$1"; "check_$2"' check "$file" "$name" \
        >check.out 2>check.err || status=$?
    why=$(last_line check.err)
    case "$status" in
        0) say "ok $name" ;;
        77) say "not run $name: $why" ;;
        124 | 143) say "not ok $name: not done after $check_limit_s s${why:+; last: $why}" ;;
        *) say "not ok $name: ${why:-ended with $status}" ;;
    esac
    [ "$status" = 0 ] || [ "$status" = 77 ] || tail -n "+$((logged + 1))" server.log | tail -n 5 | cut -c 1-300 | sed 's/^/#   /' >&3
    echo "$name took $(($(date +%s) - begun)) s"
}

checks() {
    local group file
    group=$(sed -nE 's/.*guest_group=([a-z0-9]+).*/\1/p' /proc/cmdline)
    for file in /guest/checks/{first,$group,last}.bash; do
        sed -nE "s|^check_([a-z0-9_]+)\(\).*|$file \1|p" "$file"
    done
}

while read -r file name; do say "plan $name"; done < <(checks)
while read -r file name; do run_check "$file" "$name" </dev/null; done < <(checks)
say done
