# Sourced in the guest by every check: servers, leases, uploads and what the kernel and the metrics say about them.
# A check that only has to say something for its lack of a condition calls `skip`, one that is broken `fail`.

fail() { echo "$*" >&2; exit 1; }
skip() { echo "$*" >&2; exit 77; }
same() { [ "$1" = "$2" ] || fail "$3: expected '$2', got '$1'"; }

state_dir=/tmp/guest
stores=/tmp/stores

# ---------------------------------------------------------------------------------------------------- servers

# serve <name> [more TOML]: starts a server with a directory as datastore `default`, and waits until it accepts.
serve() {
    local name=$1 home="$state_dir/$1"
    mkdir -p "$home" "$stores/$name"
    cat >"$home/diskferry.toml" <<TOML
[listen]
control = "127.0.0.1:0"
data = "127.0.0.1:0"
data_tls = "127.0.0.1:0"
control_plain = true
[state]
dir = "$home/state"
[datastore.default]
path = "$stores/$name"
${2-}
TOML
    # It outlives this check; its exit code is kept for `stop_server`.
    {
        diskferry serve --config "$home/diskferry.toml" >"$home/serve.json" 2>>"$state_dir/server.log" &
        echo $! >"$home/pid"
        status=0
        wait $! || status=$?
        echo "$status" >"$home/ended"
    } </dev/null &
    for _ in $(seq 200); do
        [ ! -s "$home/serve.json" ] || return 0
        [ ! -e "$home/ended" ] || fail "serve ended with $(cat "$home/ended"): $(tail -n 1 "$state_dir/server.log")"
        sleep 0.1
    done
    fail "serve printed no line within 20 s"
}

# use <name>: what follows speaks to that server.
use() {
    home="$state_dir/$1"
    store="$stores/$1"
    [ -s "$home/serve.json" ] || fail "the server '$1' did not start"
    [ ! -e "$home/ended" ] || fail "the server '$1' is gone: it ended with $(cat "$home/ended")"
    { read -r control; read -r data; read -r data_tls; } < <(jq -r '.control, .data, .data_tls' "$home/serve.json")
    control=${control/#https/http}
    token_file="$home/state/admin.token"
}

# said <key>: from the first line of `serve`.
said() { jq -r --arg key "$1" '.[$key]' "$home/serve.json"; }

# stop_server: asks it to end and prints its exit code.
stop_server() {
    kill -TERM "$(cat "$home/pid")"
    for _ in $(seq 200); do
        [ -e "$home/ended" ] && { cat "$home/ended"; return 0; }
        sleep 0.1
    done
    fail "the server did not end within 20 s of SIGTERM"
}

# ---------------------------------------------------------------------------------------------------- leases

# ask_control <method> <path> [body]: prints the body of the answer. Spoken by the shell itself, because in an emulated
# machine the start of curl takes longer than all that is asked here.
ask_control() {
    local address=${control#http://} line body=${3-} token
    token=$(<"$token_file")
    exec 5<>"/dev/tcp/${address%:*}/${address##*:}"
    printf '%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: Bearer %s\r\n' "$1" "$2" "$address" "$token" >&5
    printf 'Content-Type: application/json\r\nContent-Length: %s\r\n\r\n%s' "${#body}" "$body" >&5
    while IFS= read -t 20 -r line <&5 && [ "${line%$'\r'}" != "" ]; do :; done
    cat <&5
    exec 5>&-
}
admin() { ask_control "$1" "/admin/v1$2" "${3-}"; }

# import <path> <capacity in bytes>: a file that is kept as it is sent. import_disk <datastore> <capacity>: a raw disk on a
# device. export_file <path>, export_disk <datastore>: the same, out. All set id and url.
import() { lease import "\"capacityBytes\": $2, \"disk\": false," default "$1" verbatim; }
export_file() { lease export '"disk": false,' default "$1" verbatim; }
import_disk() { lease import "\"capacityBytes\": $2," "$1" "" raw; }
export_disk() { lease export "" "$1" "" raw; }
lease() {
    local answer
    answer=$(admin POST /leases "{\"kind\": \"$1\", \"entity\": \"guest\", \"disks\": [{\"name\": \"disk-0.bin\", $2
        \"target\": {\"datastore\": \"$3\", \"path\": \"$4\", \"form\": \"$5\"}}]}")
    { read -r id; read -r url; } < <(jq -r '.id, .info.deviceUrl[0].url' <<<"$answer")
    [[ "$url" == https://* ]] || fail "no lease: $answer"
}
# The same device over plain HTTP.
plain_url() { echo "$data${url#"$data_tls"}"; }
device_path() { echo "${url#"$data_tls"}"; }
complete() { same "$(admin POST "/leases/$id/complete" | jq -r .state)" done "complete"; }
abort() { admin POST "/leases/$id/abort" >/dev/null; }
show() { admin GET "/leases/$id" | jq -r "$1"; }

# wait_until <seconds> <what> <command>: until the command succeeds.
wait_until() {
    local limit_s=$1 begun_s=$SECONDS what=$2
    shift 2
    while ! "$@"; do
        [ $((SECONDS - begun_s)) -le "$limit_s" ] || fail "$what: not within $limit_s s"
        sleep 0.1
    done
}
moving_over() { [ "$(show '.disks[0].movingBytes // 0')" -gt "$1" ]; }
nothing_moves() { [ "$(show '.disks[0].movingBytes')" = null ]; }
state_is() { [ "$(show .state)" = "$1" ]; }

# ---------------------------------------------------------------------------------------------------- transfers

# blob <MiB>: prints the path of a file of that many random bytes, the same for every check.
blob() {
    local file="$state_dir/blob.$1"
    [ -s "$file" ] || { head -c "$1M" /dev/urandom >"$file.new" && mv "$file.new" "$file"; }
    echo "$file"
}

# curl_to <curl arguments>: prints the status; the answer's body and what curl tells of the connection stay beside.
curl_to() { curl -sSkv -m 50 -o "${into:-$state_dir/answer}" -w '%{http_code}' "$@" 2>"$state_dir/curl.log" || true; }

# upload <file> <curl arguments>, download <file to compare with> <curl arguments>
upload() {
    local file=$1
    shift
    same "$(curl_to -T "$file" "$@")" 201 "PUT ($(why_curl))"
}
download() {
    local file=$1 got="$state_dir/got"
    shift
    rm -f "$got"
    same "$(into=$got curl_to "$@")" 200 "GET ($(why_curl))"
    cmp "$file" "$got" || fail "what was sent out differs: $(cmp "$file" "$got" 2>&1)"
    rm -f "$got"
}
why_curl() { grep '^curl:' "$state_dir/curl.log" | tail -n 1 || true; }
negotiated() {
    grep -qF "SSL connection using $1" "$state_dir/curl.log" ||
        fail "expected $1, got: $(grep 'SSL connection using' "$state_dir/curl.log" || why_curl)"
}

# stored <path> <file>: the object is that file.
stored() { cmp "$store/$1" "$2" || fail "what was stored as $1 differs: $(cmp "$store/$1" "$2" 2>&1)"; }

# ---------------------------------------------------------------------------------------------------- counters

# metric <name with labels>: its value, nothing when it does not exist. Labels stand in the order of the alphabet.
metric() { ask_control GET /metrics | awk -v name="$1" '$1 == name { print $2 }'; }

# counters: one line: bytes in spliced, in copied, out spliced, out copied; of the kernel itself: TLS sessions it has
# received and sent with, 0 0 when it has no TLS.
counters() {
    {
        ask_control GET /metrics
        [ ! -r /proc/net/tls_stat ] || cat /proc/net/tls_stat
    } | awk '
        { value[$1] = $2 }
        function moved(direction, path) {
            return value["diskferry_transfer_bytes_total{direction=\"" direction "\",path=\"" path "\"}"] + 0
        }
        END {
            print moved("in", "spliced"), moved("in", "copied"), moved("out", "spliced"), moved("out", "copied"),
                value["TlsRxSw"] + 0, value["TlsTxSw"] + 0
        }'
}
tls_stat() { awk -v name="$1" '$1 == name { print $2 }' /proc/net/tls_stat; }

# since <counters before>: how far each has come, in the array grown.
since() {
    local before now index
    read -ra before <<<"$1"
    read -ra now <<<"$(counters)"
    grown=()
    for index in "${!now[@]}"; do grown+=($((now[index] - before[index]))); done
}

# spliced_in <bytes>, spliced_out <bytes>: of the counters in grown, every byte went without a copy.
spliced_in() { all_of PUT "$1" "${grown[0]}" "${grown[1]}"; }
spliced_out() { all_of GET "$1" "${grown[2]}" "${grown[3]}"; }
all_of() { [ "$3 $4" = "$2 0" ] || fail "$1: $3 of $2 bytes spliced, $4 copied"; }

# round_trip <name> <MiB> <what curl shows> <curl arguments>; leaves its counters for all_spliced.
round_trip() {
    use "${server:-main}"
    local name=$1 mib=$2 shown=$3 file before
    shift 3
    file=$(blob "$mib")
    rm -f "$state_dir/$name.counters"
    before=$(counters)
    import "$name/disk-0.bin" $((mib << 20))
    upload "$file" "$@" "$url"
    negotiated "$shown"
    stored "$name/disk-0.bin" "$file"
    complete
    export_file "$name/disk-0.bin"
    download "$file" "$@" "$url"
    negotiated "$shown"
    complete
    since "$before"
    echo "$((mib << 20)) ${grown[*]}" >"$state_dir/$name.counters"
    rm -f "$store/$name/disk-0.bin"
}

all_spliced() {
    local bytes
    [ -s "$state_dir/$1.counters" ] || fail "its transfers failed"
    read -r bytes line <"$state_dir/$1.counters"
    read -ra grown <<<"$line"
    spliced_in "$bytes"
    spliced_out "$bytes"
    [ "${grown[4]}" -ge 2 ] && [ "${grown[5]}" -ge 2 ] ||
        fail "two connections, but the kernel counted ${grown[4]} receiving and ${grown[5]} sending TLS sessions"
}

# ---------------------------------------------------------------------------------------------------- openssl as a client

# Where openssl connects to.
tls_address() { echo "${data_tls#https://}"; }

# request <method> <more header lines>: the head of a request for the device.
request() {
    printf '%s %s HTTP/1.1\r\nHost: guest\r\n' "$1" "$(device_path)"
    [ $# -lt 2 ] || printf '%s\r\n' "${@:2}"
    printf '\r\n'
}
