# The other ways through the same kernel: TLS kept out of it, and no io_uring.

# The same kernel, told not to: the path of machines without TLS in the kernel.
check_kernel_records_can_be_turned_off() {
    serve user '[tls]
kernel = "off"'
    use user
    same "$(said tls_records)" user 'tls_records in the first line of serve'
}
check_user_records_identical() {
    server=user round_trip user_records 16 "TLSv1.3" --tlsv1.3
    read -ra grown <<<"$(cut -d' ' -f2- "$state_dir/user_records.counters")"
    same "${grown[4]} ${grown[5]}" "0 0" "TLS sessions of the kernel, receiving and sending"
}
check_user_records_drain() {
    use user
    same "$(stop_server)" 0 "exit code of serve"
}

# Without io_uring: system calls that block, on threads of their own.
check_blocking_engine_identical() {
    serve blocking '[data]
engine = "blocking"'
    use blocking
    same "$(said engine)" blocking "engine"
    server=blocking round_trip blocking_tls13 16 "TLSv1.3" --tlsv1.3
    server=blocking round_trip blocking_tls12 16 "TLSv1.2" --tls-max 1.2
}
check_blocking_engine_tls13_spliced() {
    all_spliced blocking_tls13
}
check_blocking_engine_tls12_spliced() {
    all_spliced blocking_tls12
}
check_blocking_engine_drains() {
    use blocking
    same "$(stop_server)" 0 "exit code of serve"
}
