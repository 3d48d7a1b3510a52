# Sourced by tests/run and tests/interop/run, which count with `pass`, `fail` and the array `not_run`: runs test scripts.
# A script passes (0), fails, or is not run (77, with the reason as its last line). Two run at a time, and each is shown when it has ended;
# one that measures the clock or the whole machine has a line "# Alone: why" and has the machine to itself.

logs=$(mktemp -d)
declare -A running=()
# Those that run must not outlive an interrupted run. Each is the first of a group that `timeout` has made.
trap 'for pid in "${!running[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$logs"' EXIT

# run_scripts <limit in seconds> <script>...
run_scripts() {
    local limit_s=$1 script alone=()
    shift
    for script in "$@"; do
        if grep -q '^# Alone: ' "$script"; then alone+=("$script"); continue; fi
        [ ${#running[@]} -lt 2 ] || wait_for_one
        timeout --kill-after=10 "$limit_s" bash "$script" >"$logs/${script//\//_}" 2>&1 &
        running[$!]=$script
    done
    while [ ${#running[@]} -gt 0 ]; do wait_for_one; done
    for script in "${alone[@]}"; do run_alone "$limit_s" bash "$script"; done
}

wait_for_one() {
    local status=0 pid script
    wait -n -p pid "${!running[@]}" || status=$?
    script=${running[$pid]}
    unset "running[$pid]"
    printf '\n== bash %s  (until %ss)\n' "$script" "$SECONDS"
    cat "$logs/${script//\//_}"
    judge "$status" "bash $script" "$logs/${script//\//_}"
}

# run_alone <limit in seconds> <command>
run_alone() {
    local status=0 limit_s=$1
    shift
    printf '\n== %s  (from %ss)\n' "$*" "$SECONDS"
    timeout --kill-after=10 "$limit_s" "$@" 2>&1 | tee "$logs/alone" || status=$?
    judge "$status" "$*" "$logs/alone"
}

# judge <exit code> <name> <what it printed>. 124: `timeout` has ended it.
judge() {
    case $1 in
        0) pass ;;
        77) not_run+=("$2: $(tail -n 1 "$3")") ;;
        124) fail "$2 (not done in time)" ;;
        *) fail "$2 (exit code $1)" ;;
    esac
}
