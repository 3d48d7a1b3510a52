#!/usr/bin/env bash
# Ten thousand idle keep-alive connections cost the server less than 4 KiB of its memory each, on both engines; TLS ones are
# measured. Beside them an upload goes on, and each of them still answers.
# Alone: it measures memory and the seconds ten thousand connections take.
. "$(dirname "$0")/lib.bash"

wanted=10000
limit=$(ulimit -Hn)
[ "$limit" = unlimited ] || [ "$limit" -ge 2000 ] || not_run "only $limit descriptors here"
ulimit -n "$limit"
disk guest 48

# A server of its own for each, so that none lives on memory that another has left.
measure() { # <engine> <listener> <connections>
    rm -rf "$work/ds" "$work/state"
    config http "[data]
engine = \"$1\""
    start
    import vm $((48 << 20)) vm/disk-0.vmdk verbatim
    python3 - "$1" "$2" "$3" "$control" "$work/serve.json" "$url" "$work/guest.vmdk" \
        "$(pgrep -P "$server_pid" -x diskferry || echo "$server_pid")" <<'P' || die "idle connections: $*"
import json, os, resource, socket, ssl, subprocess, sys, time, urllib.request

engine, listener, wanted, control, serve, url, stream, pid = sys.argv[1:]
addresses = json.load(open(serve))
if engine == 'uring' and addresses['engine'] != 'uring':
    print('uring: refused here, not measured')
    sys.exit()
at = lambda name: (addresses[name].split('//')[1].split(':')[0], int(addresses[name].rsplit(':', 1)[1]))
REQUEST = b'GET /nfc/nobody/disk-0.vmdk HTTP/1.1\r\nHost: x\r\n\r\n'
LIMIT_BYTES = 4096
PER_ADDRESS = 4000
room = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
# The server keeps some for transfers; the client needs one each.
count = min(int(wanted), (room - 256) // 2 if room < 18000 else room - 256 - 8192)


def kib(field, path):
    return next(int(line.split()[1]) for line in open(path) if line.startswith(field))


def memory():
    """The server's own memory in bytes, and what the kernel keeps for sockets of the whole machine."""
    rollup = f'/proc/{pid}/smaps_rollup'
    pages = next(line.split() for line in open('/proc/net/sockstat') if line.startswith('TCP:'))
    slab = kib('SUnreclaim:', '/proc/meminfo') * 1024
    return kib('Pss_Anon:', rollup) * 1024, kib('Rss:', rollup) * 1024, int(pages[-1]) * 4096 + slab


def metric(name):
    text = urllib.request.urlopen(control + '/metrics').read().decode()
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith(name + ' '))))


def ask(line):
    """One request on a connection that stays open."""
    line.sendall(REQUEST)
    answer = b''
    while b'not found\n' not in answer:
        piece = line.recv(4096)
        if not piece:
            sys.exit(f'closed instead of an answer: {answer!r}')
        answer += piece


context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def connect(number, name):
    line = socket.socket()
    line.bind((f'127.0.0.{2 + number // PER_ADDRESS}', 0))
    line.connect(at(name))
    if name == 'data_tls':
        line = context.wrap_socket(line)
    ask(line)
    return line


def idle(count, name):
    """Bytes per idle connection: the server's anonymous memory, its resident memory, the kernel's."""
    # What the first connections make once for all is no cost of an idle one.
    for line in [connect(number, name) for number in range(64)]:
        line.close()
    settle(0)
    before = memory()
    began = time.time()
    lines = [connect(number, name) for number in range(count)]
    took = time.time() - began
    settle(count)
    after = memory()
    costs = [(b - a) / count for a, b in zip(before, after)]
    print(f'{engine} {name}: {count} idle connections in {took:.1f} s: {costs[0]:.0f} bytes of the server each '
          f'(resident {costs[1]:.0f}); kernel about {costs[2]:.0f}')
    return lines, max(costs[:2])


def settle(expected):
    deadline = time.time() + 20
    while metric('diskferry_nfc_connections') != expected and time.time() < deadline:
        time.sleep(0.1)
    if metric('diskferry_nfc_connections') != expected:
        sys.exit(f'{metric("diskferry_nfc_connections")} connections are open, not {expected}')
    time.sleep(1)


lines, cost_bytes = idle(count, listener)
began = time.time()
done = subprocess.run(['curl', '-s', '-m', '30', '-o', '/dev/null', '-w', '%{http_code}', '-T', stream, url],
                      capture_output=True, text=True)
if done.stdout != '201':
    sys.exit(f'an upload beside them was answered {done.stdout!r}')
print(f'{engine}: an upload beside them took {time.time() - began:.1f} s')
for line in lines[::37]:
    ask(line)
for line in lines:
    line.close()
settle(0)
if listener == 'data' and cost_bytes >= LIMIT_BYTES:
    sys.exit(f'{cost_bytes:.0f} bytes each, {LIMIT_BYTES} are allowed')
P
    complete "$id"
    stop
}

measure uring data "$wanted"
measure uring data_tls 2000
measure blocking data "$wanted"
measure blocking data_tls 2000
