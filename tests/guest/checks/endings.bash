# How TLS connections end, where the kernel speaks TLS: close_notify, cut lines, key updates, aborted leases.
# openssl s_client is the client where curl is too well-behaved.

small=$((4 << 20))

# A client must be able to tell the end from a cut: OpenSSL 3 complains when close_notify is missing.
says_goodbye() {
    use main
    cp "$(blob 4)" "$store/goodbye.bin"
    export_file goodbye.bin
    request GET 'Connection: close' |
        timeout 20 openssl s_client -connect "$(tls_address)" -quiet "$1" >"$state_dir/goodbye" 2>"$state_dir/goodbye.err" || true
    # The head of the answer stands before the body.
    tail -c $small "$state_dir/goodbye" | cmp - "$(blob 4)" ||
        fail "the answer is not whole: $(tail -n 1 "$state_dir/goodbye.err")"
    ! grep -q 'unexpected eof' "$state_dir/goodbye.err" || fail "the connection ended without close_notify"
    complete
}
check_tls13_server_says_goodbye() { says_goodbye -tls1_3; }
check_tls12_server_says_goodbye() { says_goodbye -tls1_2; }

# broken_off: nothing of the upload is kept, and it can be sent again.
broken_off() {
    wait_until 10 "the end of the broken transfer" nothing_moves
    same "$(show .state)" ready "state of the lease"
    same "$(show '.disks[0].delivered')" false "delivered"
    [ ! -e "$store/$1/disk-0.bin" ] || fail "a part of the upload has the final name"
    upload "$(blob 4)" "$url"
    stored "$1/disk-0.bin" "$(blob 4)"
    complete
}

# A goodbye in the middle of a body is not the end of that body.
close_notify_inside() {
    use main
    import "$2/disk-0.bin" $small
    { request PUT "Content-Length: $small"; head -c 1000000 "$(blob 4)"; } |
        timeout 20 openssl s_client -connect "$(tls_address)" -quiet -no_ign_eof "$1" >"$state_dir/cut" 2>&1 || true
    ! grep -q 'HTTP/1.1 20' "$state_dir/cut" || fail "a body cut by close_notify was accepted"
    broken_off "$2"
}
check_tls13_close_notify_inside_upload() { close_notify_inside -tls1_3 notify13; }
check_tls12_close_notify_inside_upload() { close_notify_inside -tls1_2 notify12; }

check_client_drops_inside_upload() {
    use main
    import drop/disk-0.bin $small
    curl -sk --limit-rate 100k -m 30 -T "$(blob 4)" -o /dev/null "$url" &
    local client=$!
    wait_until 10 "the upload's first bytes" moving_over 100000
    kill -9 $client
    wait $client || true
    broken_off drop
}

check_client_drops_inside_download() {
    use main
    cp "$(blob 16)" "$store/dropped.bin"
    export_file dropped.bin
    curl -sk --limit-rate 100k -m 30 -o /dev/null "$url" &
    local client=$!
    wait_until 10 "the download's first bytes" moving_over 100000
    kill -9 $client
    wait $client || true
    wait_until 10 "the end of the broken transfer" nothing_moves
    download "$(blob 16)" "$url"
    complete
}

no_connections() { [ "$(metric diskferry_nfc_connections)" = 0 ]; }
check_idle_close_notify_frees_connection() {
    use main
    wait_until 10 "earlier connections' end" no_connections
    cp "$(blob 4)" "$store/idle.bin"
    export_file idle.bin
    : >"$state_dir/idle"
    { request HEAD; wait_until 10 "an answer" grep -q 'HTTP/1.1 200' "$state_dir/idle"; } |
        timeout 20 openssl s_client -connect "$(tls_address)" -quiet -no_ign_eof >"$state_dir/idle" 2>&1 || true
    grep -q 'HTTP/1.1 200' "$state_dir/idle" || fail "no answer: $(tail -n 1 "$state_dir/idle")"
    wait_until 5 "the end of a connection whose client said goodbye" no_connections
    complete
}

# TLS 1.3 lets a client change its keys at any time. Going on and closing are both right; hanging is not.
check_key_update_does_not_hang() {
    use main
    # A client that has been closed on takes no more of what it is told.
    trap '' PIPE
    cp "$(blob 4)" "$store/update.bin"
    export_file update.bin
    rm -f "$state_dir/fifo"
    mkfifo "$state_dir/fifo"
    timeout 30 openssl s_client -connect "$(tls_address)" -tls1_3 <"$state_dir/fifo" >"$state_dir/update" 2>&1 &
    local client=$!
    exec 4>"$state_dir/fifo"
    wait_until 10 "the handshake" grep -q 'Verify return code' "$state_dir/update"
    sleep 0.5
    # What the client sends with its new keys, its goodbye for instance, the kernel cannot decrypt.
    : >"$state_dir/changed_keys"
    echo K >&4
    wait_until 20 "openssl's key update" grep -q '^KEYUPDATE' "$state_dir/update"
    request HEAD >&4 2>/dev/null || true
    answered_or_ended() { grep -q 'HTTP/1.1 200' "$state_dir/update" || ! kill -0 $client 2>/dev/null; }
    wait_until 10 "an answer, or the end, after a key update" answered_or_ended
    if grep -q 'HTTP/1.1 200' "$state_dir/update"; then echo "went on"; else echo "closed"; fi
    exec 4>&-
    kill $client 2>/dev/null || true
    download "$(blob 4)" "$url"
    complete
}

check_abort_cuts_tls_upload() {
    use main
    import aborted/disk-0.bin $((16 << 20))
    curl -sk --limit-rate 100k -m 30 -T "$(blob 16)" -o "$state_dir/aborted" -w '%{http_code}' "$url" >"$state_dir/aborted.status" &
    local client=$!
    wait_until 10 "the upload's first bytes" moving_over 100000
    abort
    ended() { ! kill -0 $client 2>/dev/null; }
    wait_until 5 "the end of an aborted upload" ended
    [[ "$(cat "$state_dir/aborted.status")" != 2* ]] || fail "an aborted upload was answered with success"
    [ ! -e "$store/aborted/disk-0.bin" ] || fail "an aborted upload left its file"
}
