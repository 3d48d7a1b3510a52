# TLS 1.3: one upload and one download per cipher: the bytes, and who encrypted them.
#
# "identical": the client negotiated exactly that, and what is stored and what comes back is what was sent.
# "spliced": not a byte of either passed through user space, and the kernel counted a session of its own in each direction.
# One of them with 64 MiB, the others with 16: emulated, each MiB costs 0.1 to 0.3 s, and none of them knows the length.

check_tls13_aes256_identical() {
    round_trip tls13_aes256 64 "TLSv1.3 / TLS_AES_256_GCM_SHA384" --tlsv1.3 --tls13-ciphers TLS_AES_256_GCM_SHA384
}
check_tls13_aes256_spliced() { all_spliced tls13_aes256; }

check_tls13_aes128_identical() {
    round_trip tls13_aes128 16 "TLSv1.3 / TLS_AES_128_GCM_SHA256" --tlsv1.3 --tls13-ciphers TLS_AES_128_GCM_SHA256
}
check_tls13_aes128_spliced() { all_spliced tls13_aes128; }

check_tls13_chacha20_identical() {
    round_trip tls13_chacha20 16 "TLSv1.3 / TLS_CHACHA20_POLY1305_SHA256" --tlsv1.3 --tls13-ciphers TLS_CHACHA20_POLY1305_SHA256
}
check_tls13_chacha20_spliced() { all_spliced tls13_chacha20; }
