#!/usr/bin/env bash
# TLS on the data plane as clients see it: every suite of 1.2 and 1.3, resumption, records cut and joined at every place, payload
# together with the handshake, goodbyes and their absence, key updates, junk. On both engines.
. "$(dirname "$0")/lib.bash"
command -v openssl >/dev/null || not_run "needs openssl"

disk guest 24
size=$(stat -c %s "$work/guest.vmdk")
for engine in uring blocking; do
    rm -rf "$work/ds" "$work/state"
    config https "[data]
engine = \"$engine\""
    start
    records=$(jq -r .tls_records "$work/serve.json")
    case "$records" in kernel | user) ;; *) die "tls_records is '$records'" ;; esac
    address=$(jq -r .data_tls "$work/serve.json" | cut -d/ -f3)

    # Suites: in and out, and counted.
    number=0
    for arguments in "--tls13-ciphers TLS_AES_128_GCM_SHA256" "--tls13-ciphers TLS_AES_256_GCM_SHA384" \
        "--tls13-ciphers TLS_CHACHA20_POLY1305_SHA256" "--tls-max 1.2 --ciphers ECDHE-ECDSA-AES128-GCM-SHA256" \
        "--tls-max 1.2 --ciphers ECDHE-ECDSA-AES256-GCM-SHA384" "--tls-max 1.2 --ciphers ECDHE-ECDSA-CHACHA20-POLY1305"; do
        number=$((number + 1))
        # shellcheck disable=SC2086
        curl -skv -o /dev/null $arguments "https://$address/" 2>"$work/trace" || true
        grep -q "SSL connection using" "$work/trace" || die "no connection with $arguments"
        import "suite$number" $((24 << 20)) "suite$number/disk-0.vmdk" verbatim
        # shellcheck disable=SC2086
        same "$(status $arguments -T "$work/guest.vmdk" "$url")" 201 "PUT with $arguments"
        complete "$id"
        cmp "$work/guest.vmdk" "$work/ds/suite$number/disk-0.vmdk" || die "PUT with $arguments differs"
        export_lease "suite$number" "suite$number/disk-0.vmdk" verbatim
        # shellcheck disable=SC2086
        same "$(into="$work/out" status $arguments "$url")" 200 "GET with $arguments"
        cmp "$work/guest.vmdk" "$work/out" || die "GET with $arguments differs"
        complete "$id"
    done
    for version in 1.2 1.3; do
        counted=$(curl -sS "$control/metrics" | grep -F 'diskferry_tls_connections_total{' | grep -F "version=\"$version\"" | awk '{sum += $NF} END {print sum + 0}')
        [ "$counted" -ge 6 ] || die "only $counted connections of TLS $version were counted"
    done

    # Resumption, by tickets.
    for version in -tls1_2 -tls1_3; do
        rm -f "$work/ticket"
        (printf 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'; sleep 1) |
            openssl s_client -connect "$address" "$version" -sess_out "$work/ticket" -ign_eof >"$work/first" 2>/dev/null || true
        grep -q '^New, ' "$work/first" || die "the first connection with $version was not new"
        (printf 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'; sleep 1) |
            openssl s_client -connect "$address" "$version" -sess_in "$work/ticket" -ign_eof >"$work/second" 2>/dev/null || true
        grep -q '^Reused, ' "$work/second" || die "the second connection with $version was not resumed"
        grep -q 'HTTP/1.1 404' "$work/second" || die "no answer on a resumed connection with $version"
    done
    resumed=$(curl -sS "$control/metrics" | awk '$1 == "diskferry_tls_handshakes_resumed_total" {print $2}')
    [ "$resumed" -ge 2 ] || die "resumptions were not counted"

    # ALPN: http/1.1 alone.
    openssl s_client -connect "$address" -alpn h2,http/1.1 </dev/null >"$work/alpn" 2>/dev/null || true
    grep -q 'ALPN protocol: http/1.1' "$work/alpn" || die "ALPN"

    # New keys in the middle, asked for and not: openssl sends them for "k" and "K" at the beginning of a line.
    if [ "$records" = user ]; then
        { sleep 0.3; echo k; sleep 0.3; echo K; sleep 0.3; printf 'GET / HTTP/1.1\nHost: x\nConnection: close\n\n'; sleep 1; } |
            openssl s_client -connect "$address" -tls1_3 -crlf >"$work/updated" 2>&1 || true
        grep -q KEYUPDATE "$work/updated" || die "openssl sent no key update"
        grep -q 'HTTP/1.1 404' "$work/updated" || die "no answer after key updates"
    fi

    import records $((24 << 20)) records/disk-0.vmdk verbatim
    python3 - "$address" "$url" "$work/guest.vmdk" <<'P'
import random, socket, ssl, sys, time

host, port = sys.argv[1].rsplit(':', 1)
path = '/' + sys.argv[2].split('/', 3)[3]
body = open(sys.argv[3], 'rb').read()
seed = int(time.time())
print(f'seed {seed}')
chance = random.Random(seed)

def context(version):
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    return made

class Client:
    """A TLS connection whose ciphertext passes through our hands."""
    def __init__(self, version=ssl.TLSVersion.TLSv1_3, early=b'', piece=65536):
        self.socket = socket.create_connection((host, int(port)))
        self.socket.settimeout(20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(version).wrap_bio(self.incoming, self.outgoing)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush(piece)
                self.pull()
        # Payload right behind our last message, in one segment with it.
        if early:
            self.tls.write(early)
        self.flush(piece)

    def flush(self, piece=65536):
        data = self.outgoing.read()
        for start in range(0, len(data), piece):
            self.socket.sendall(data[start:start + piece])
            if piece < 100:
                time.sleep(0.0005)

    def pull(self):
        data = self.socket.recv(65536)
        if not data:
            self.incoming.write_eof()
            raise EOFError
        self.incoming.write(data)

    def send(self, data):
        self.tls.write(data)
        self.flush()

    def read(self):
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                try:
                    self.pull()
                except EOFError:
                    return None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b''

    def answer(self):
        text = b''
        while b'\r\n\r\n' not in text:
            more = self.read()
            if not more:
                sys.exit(f'the connection ended after {text!r}')
            text += more
        return int(text.split()[1])

def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f'{what}: expected {wanted!r}, got {got!r}')

def put(length, extra=''):
    return f'PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{extra}\r\n'.encode()

request = b'GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n'
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    # Everything byte by byte: handshake, head, records.
    expect('byte by byte', Client(version, early=request, piece=1).answer(), 404)
    # Two requests in one record, then a head over many records.
    client = Client(version, early=request + request)
    expect('first of two', client.answer(), 404)
    client = Client(version)
    for byte in request:
        client.send(bytes([byte]))
    expect('a head of one-byte records', client.answer(), 404)
    client.send(request)
    expect('keep-alive', client.answer(), 404)
    client.send(b'GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    expect('close', client.answer(), 404)
    end = client.read()
    while end:
        end = client.read()
    expect('our goodbye', end, b'')

    # A body of random writes, cut at random places on its way, the head together with its beginning.
    client = Client(version, early=put(len(body)) + body[:1000])
    at = 1000
    while at < len(body):
        # The last kilobyte is kept back: this upload is to fail.
        if at > len(body) // 8:
            break
        count = chance.choice([1, 2, 100, 5000, 16384, 16385, 70000])
        client.tls.write(body[at:at + count])
        at += count
        data = client.outgoing.read()
        while data:
            cut = chance.randrange(1, len(data) + 1)
            client.socket.sendall(data[:cut])
            data = data[cut:]
    # A goodbye in the middle of a body is an interruption.
    try:
        client.tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    client.flush()
    client.socket.close()
    time.sleep(0.3)

    # A record with a flipped bit: an alert, and the connection is over.
    client = Client(version)
    client.tls.write(request)
    data = bytearray(client.outgoing.read())
    data[-1] ^= 1
    client.socket.sendall(data)
    try:
        end = client.read()
        if end:
            sys.exit(f'a damaged record was answered {end!r}')
    except ssl.SSLError as error:
        if 'BAD_RECORD_MAC' not in str(error).upper().replace(' ', '_'):
            sys.exit(f'a damaged record was answered by {error}')

# Whoever speaks plain HTTP is told something at once.
plain = socket.create_connection((host, int(port)))
plain.settimeout(3)
plain.sendall(request)
expect('plain HTTP', plain.recv(100)[:1], b'\x15')

# At last the whole body, cut at random places.
client = Client(early=put(len(body)))
at = 0
while at < len(body):
    count = chance.choice([1, 777, 16384, 16385, 40000, 300000])
    client.tls.write(body[at:at + count])
    at += count
    data = client.outgoing.read()
    cut = chance.randrange(len(data))
    client.socket.sendall(data[:cut])
    client.socket.sendall(data[cut:])
expect('a body cut anywhere', client.answer(), 201)
P
    complete "$id"
    cmp "$work/guest.vmdk" "$work/ds/records/disk-0.vmdk" || die "what came in pieces differs"
    [ "$size" = "$(stat -c %s "$work/ds/records/disk-0.vmdk")" ] || die "the length differs"
    stop
    echo "$engine, records by $records: ok"
done
