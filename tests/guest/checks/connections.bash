# TLS connections that live on, where the kernel speaks TLS: keep-alive, resumption, several at once.

small=$((4 << 20))
# Per transfer: its status, and how many connections were made for it.
telling=(-sSk -m 50 -w '%{http_code} %{num_connects}\n')

check_keep_alive_uploads() {
    use main
    local file first made
    file=$(blob 4)
    import keep1/disk-0.bin $small
    first=$url
    import keep2/disk-0.bin $small
    made=$(curl "${telling[@]}" -T "$file" "$first" -T "$file" "$url" 2>&1 | tr '\n' ' ')
    same "$made" "201 1 201 0 " "two uploads (status, new connections)"
    stored keep1/disk-0.bin "$file"
    stored keep2/disk-0.bin "$file"
}

check_keep_alive_downloads() {
    use main
    local file made
    file=$(blob 4)
    cp "$file" "$store/keep.bin"
    export_file keep.bin
    made=$(curl "${telling[@]}" -o "$state_dir/one" "$url" -o "$state_dir/two" "$url" 2>&1 | tr '\n' ' ')
    same "$made" "200 1 200 0 " "two downloads (status, new connections)"
    cmp "$file" "$state_dir/one" && cmp "$file" "$state_dir/two"
}

# An upload, then a download, then an upload again: the kernel's two directions take turns.
check_keep_alive_mixed() {
    use main
    local file in made
    file=$(blob 4)
    import mixed/disk-0.bin $small
    in=$url
    cp "$file" "$store/mixed.bin"
    export_file mixed.bin
    made=$(curl "${telling[@]}" -T "$file" "$in" --next "${telling[@]}" -o "$state_dir/one" "$url" \
        --next "${telling[@]}" -T "$file" "$in" 2>&1 | tr '\n' ' ')
    same "$made" "201 1 200 0 201 0 " "upload, download, upload (status, new connections)"
    cmp "$file" "$state_dir/one"
    stored mixed/disk-0.bin "$file"
}

# resumed <version as openssl writes it> <option>: the second connection goes on with the first one's session, and works.
resumed() {
    use main
    local session="$state_dir/session.$1"
    rm -f "$session"
    cp "$(blob 4)" "$store/resumed.bin"
    export_file resumed.bin
    ask_head "$2" -sess_out "$session" >"$state_dir/first"
    [ -s "$session" ] || fail "$1: no session was given: $(tail -n 1 "$state_dir/first")"
    ask_head "$2" -sess_in "$session" >"$state_dir/second"
    grep -q "^Reused, $1" "$state_dir/second" || fail "$1: not resumed: $(grep -E '^New,' "$state_dir/second" || tail -n 1 "$state_dir/second")"
    grep -q 'HTTP/1.1 200' "$state_dir/second" || fail "$1: no answer on the resumed connection"
    complete
}
ask_head() {
    request HEAD 'Connection: close' |
        timeout 20 openssl s_client -connect "$(tls_address)" -ign_eof "$@" 2>&1 || true
}
check_tls13_resumption() { resumed TLSv1.3 -tls1_3; }
check_tls12_resumption() { resumed TLSv1.2 -tls1_2; }

check_parallel_tls_uploads() {
    use main
    local file clients=() number before
    file=$(blob 4)
    before=$(counters)
    for number in 1 2 3 4 5 6 7 8; do
        import "many$number/disk-0.bin" $small
        curl -sSk -m 50 --expect100-timeout 20 -o /dev/null -w '%{http_code}' -T "$file" "$url" >"$state_dir/many.$number" 2>&1 &
        clients+=($!)
    done
    for number in "${clients[@]}"; do wait "$number" || true; done
    for number in 1 2 3 4 5 6 7 8; do
        same "$(cat "$state_dir/many.$number")" 201 "upload $number of 8"
        stored "many$number/disk-0.bin" "$file"
    done
    since "$before"
    echo "$((8 * small)) ${grown[*]}"
}
