# TLS 1.2: what tls13.bash asks, of the older version.

check_tls12_aes256_identical() {
    round_trip tls12_aes256 16 "TLSv1.2 / ECDHE-ECDSA-AES256-GCM-SHA384" --tls-max 1.2 --ciphers ECDHE-ECDSA-AES256-GCM-SHA384
}
check_tls12_aes256_spliced() { all_spliced tls12_aes256; }

check_tls12_aes128_identical() {
    round_trip tls12_aes128 16 "TLSv1.2 / ECDHE-ECDSA-AES128-GCM-SHA256" --tls-max 1.2 --ciphers ECDHE-ECDSA-AES128-GCM-SHA256
}
check_tls12_aes128_spliced() { all_spliced tls12_aes128; }

check_tls12_chacha20_identical() {
    round_trip tls12_chacha20 16 "TLSv1.2 / ECDHE-ECDSA-CHACHA20-POLY1305" --tls-max 1.2 --ciphers ECDHE-ECDSA-CHACHA20-POLY1305
}
check_tls12_chacha20_spliced() { all_spliced tls12_chacha20; }
