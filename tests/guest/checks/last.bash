# After every group: what it has left behind, and how the server ends.

check_no_descriptor_is_lost() {
    use main
    idle() { [ "$(metric diskferry_nfc_connections)" = 0 ]; }
    wait_until 15 "the last connection's end" idle
    local sockets
    # Three listeners; the control plane may keep a connection or two open.
    sockets=$(ls -l "/proc/$(cat "$home/pid")/fd" | grep -c 'socket:' || true)
    [ "$sockets" -le 12 ] || fail "$sockets sockets are open although nobody is connected"
    same "$(kernel_sessions)" 0 "TLS sessions of the kernel that are still open"
}
kernel_sessions() { echo $(($(tls_stat TlsCurrRxSw) + $(tls_stat TlsCurrTxSw))); }

check_kernel_decrypted_everything() {
    [ -r /proc/net/tls_stat ] || fail "the kernel has no TLS"
    [ "$(tls_stat TlsRxSw)" -gt 0 ] || fail "the kernel never received TLS"
    local failed most=0
    [ ! -e "$state_dir/changed_keys" ] || most=2
    failed=$(tls_stat TlsDecryptError)
    [ "$failed" -le $most ] || fail "$failed records that the kernel could not decrypt, at most $most expected"
}

check_server_drains() {
    use main
    same "$(stop_server)" 0 "exit code of serve"
}

check_kernel_has_no_complaints() {
    local complaint
    complaint=$(dmesg | grep -E 'BUG:|Oops|WARNING:|Call Trace|blocked for more than' | head -n 1 || true)
    [ -z "$complaint" ] || fail "$complaint"
}
