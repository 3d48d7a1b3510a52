#!/usr/bin/env bash
# Strangers without a ticket cannot take a data thread or its memory: junk after a TLS goodbye, records that never end, clients
# that never read. While they try, an import goes on.
# Alone: it measures how long an upload beside them takes.
. "$(dirname "$0")/lib.bash"

disk guest 48
config https "[data]
memory_mib = 16"
start
import vm $((48 << 20)) vm/disk-0.vmdk verbatim
python3 - "$(jq -r .data "$work/serve.json")" "$(jq -r .data_tls "$work/serve.json")" "$url" "$work/guest.vmdk" <<'P'
import socket, ssl, subprocess, sys, time

plain, secure = [(a.split('//')[1].split(':')[0], int(a.rsplit(':', 1)[1])) for a in sys.argv[1:3]]
url, stream = sys.argv[3:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE

def handshake():
    """A TLS connection of which we hold the raw socket, to send on it what we like."""
    s = socket.create_connection(secure)
    s.settimeout(10)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            s.sendall(outgoing.read())
            incoming.write(s.recv(65536))
    s.sendall(outgoing.read())
    return s, tls, outgoing

def upload(what):
    began = time.time()
    done = subprocess.run(['curl', '-sk', '-m', '30', '-o', '/dev/null', '-w', '%{http_code}', '-T', stream, url], capture_output=True, text=True)
    if done.stdout != '201':
        sys.exit(f'{what}: the upload was answered {done.stdout!r}')
    print(f'{what}: an upload took {time.time() - began:.1f} s')

upload('nobody else')

held = []
for _ in range(16):
    s, tls, outgoing = handshake()
    try:
        tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    s.sendall(outgoing.read() + b'\x17\x03\x03\x20\x00' + b'junk' * 2048)
    held.append(s)
upload('junk after the goodbye')

for _ in range(200):
    s, tls, outgoing = handshake()
    s.sendall(b'\x17')
    held.append(s)
upload('records that never end')

for _ in range(100):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    s.connect(plain)
    s.setblocking(False)
    try:
        while True:
            s.send(b'GET /x HTTP/1.1\r\nHost: x\r\n\r\n' * 500)
    except BlockingIOError:
        held.append(s)
    except ConnectionError:
        pass
upload('clients that never read')

# Whoever sent a byte and stopped is shown the door in time.
time.sleep(8)
open_still = 0
for s in held[16:216]:
    s.settimeout(0.5)
    try:
        while s.recv(65536):
            pass
    except socket.timeout:
        open_still += 1
    except ConnectionError:
        pass
if open_still:
    sys.exit(f'{open_still} of 200 connections with an unfinished record are still open')
P
complete "$id"
stop
