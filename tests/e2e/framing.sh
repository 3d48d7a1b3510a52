#!/usr/bin/env bash
# Requests whose framing is ambiguous are refused and their connection closed; those that are merely unusual are served. Raw
# sockets, because no client library would send these.
. "$(dirname "$0")/lib.bash"

disk guest 16
config http
start
import vm $((16 << 20)) vm/disk-0.vmdk verbatim
python3 - "$url" "$work/guest.vmdk" <<'P'
import re, socket, sys, time

url, file = sys.argv[1:]
host, port, path = re.match(r'http://([^:]+):(\d+)(/.*)', url).groups()
stream = open(file, 'rb').read()
failures = []

def talk(*pieces, timeout=10):
    """Sends the pieces, half a tenth of a second apart, and returns everything that comes back until the end."""
    s = socket.create_connection((host, int(port)))
    s.settimeout(timeout)
    answer = b''
    try:
        for piece in pieces:
            s.sendall(piece)
            time.sleep(0.05)
        while True:
            more = s.recv(65536)
            if not more:
                return answer, True
            answer += more
    except socket.timeout:
        return answer, False
    except ConnectionError:
        return answer, True
    finally:
        s.close()

def expect(what, status, *pieces, closed=True, timeout=10):
    answer, was_closed = talk(*pieces, timeout=timeout)
    first = answer.split(b'\r\n')[0].decode('latin1')
    if f' {status} ' not in first + ' ':
        failures.append(f'{what}: expected {status}, got {first!r}')
    elif closed and not was_closed:
        failures.append(f'{what}: the connection stays open')

def head(method='PUT', fields=(), version='HTTP/1.1', target=path, hostname='Host: ferry'):
    lines = [f'{method} {target} {version}'] + ([hostname] if hostname else []) + list(fields)
    return ('\r\n'.join(lines) + '\r\n\r\n').encode('latin1')

length = f'Content-Length: {len(stream)}'
for what, fields in {
    'two lengths': [length, length],
    'two different lengths': ['Content-Length: 5', 'Content-Length: 6'],
    'a list of lengths': ['Content-Length: 5, 5'],
    'a signed length': ['Content-Length: +5'],
    'a negative length': ['Content-Length: -5'],
    'a hexadecimal length': ['Content-Length: 0x5'],
    'an empty length': ['Content-Length: '],
    'a length beyond 64 bits': ['Content-Length: 99999999999999999999999'],
    'an unknown coding': ['Transfer-Encoding: gzip'],
    'a coding before chunked': ['Transfer-Encoding: gzip, chunked'],
    'chunked twice': ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    'chunked in a list with itself': ['Transfer-Encoding: chunked, chunked'],
    'chunked with a parameter': ['Transfer-Encoding: chunked;x=1'],
    'a space before the colon': ['Content-Length : 5'],
    'a folded field': ['X-Folded: a\r\n b', length],
    'a NUL': ['X-Nul: a\0b', length],
    'a field without a colon': ['Nonsense', length],
    'no name': [': 5', length],
}.items():
    expect(what, 400, head(fields=fields) + b'hello')
expect('chunked on HTTP/1.0', 400, head(fields=['Transfer-Encoding: chunked'], version='HTTP/1.0') + b'0\r\n\r\n')
expect('bare line feeds', 400, head(fields=[length]).replace(b'\r\n', b'\n') + b'hello')
expect('a bare carriage return', 400, head(fields=['X-A: a\rb', length]) + b'hello')
expect('no Host', 400, head(fields=[length], hostname=''))
expect('two Hosts', 400, head(fields=['Host: other', length]))
expect('another protocol', 505, head(version='HTTP/2.0', fields=[length]))
expect('no protocol at all', 400, b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'x' * 64 + b'\r\n\r\n')
expect('a very long head', 431, head(fields=['X-Long: ' + 'a' * 20000]))
expect('very many fields', 431, head(fields=[f'X-{n}: a' for n in range(200)]))
expect('no length', 411, head(fields=['Connection: close']))
chunked = ['Transfer-Encoding: chunked']
for what, body in {
    'a chunk size that is no number': b'xyz\r\nhello\r\n0\r\n\r\n',
    'a signed chunk size': b'+5\r\nhello\r\n0\r\n\r\n',
    'a chunk size with 0x': b'0x5\r\nhello\r\n0\r\n\r\n',
    'an empty chunk size': b'\r\nhello\r\n0\r\n\r\n',
    'a chunk size beyond 64 bits': b'fffffffffffffffff\r\nhello\r\n0\r\n\r\n',
    'a chunk that is longer than its size': b'3\r\nhello\r\n0\r\n\r\n',
    'a chunk line without carriage return': b'5\nhello\r\n0\r\n\r\n',
    'an endless chunk extension': b'5;' + b'a' * 5000 + b'\r\nhello\r\n0\r\n\r\n',
}.items():
    expect(what, 400, head(fields=chunked) + body)

# Slow and idle.
began = time.time()
expect('a head that never ends', 408, head()[:-4], timeout=15)
if not 4 < time.time() - began < 9:
    failures.append(f'a slow head was answered after {time.time() - began:.1f} s')

# What is unusual but right.
expect('an unknown ticket, then the same connection', 404, head('GET', ['Connection: close'], target='/nfc/x/y'))
two = head('GET', target='/nfc/x/y') + head('GET', ['Connection: close'], target='/nfc/x/z')
answer, _ = talk(two)
if answer.count(b'HTTP/1.1 404 ') != 2:
    failures.append(f'pipelined requests: {answer[:300]!r}')
body = b''.join(b'%x;ext=1\r\n%s\r\n' % (len(stream[i:i + 70000]), stream[i:i + 70000]) for i in range(0, len(stream), 70000))
expect('chunks with extensions and a trailer', 201, head(fields=chunked + ['Connection: close']) + body + b'0\r\nX-Trailer: a\r\n\r\n')
expect('chunked and a length, as RbVmomi sends them', 201, head(fields=chunked + [length]) + body + b'0\r\n\r\n')
expect('an absolute target', 201, head(target='http://ferry' + path, fields=[length, 'Connection: close']) + stream)
expect('a body in tiny pieces', 201, head(fields=[length, 'Connection: close'])[:20], head(fields=[length, 'Connection: close'])[20:] + stream[:1], stream[1:7], stream[7:])
expect('HTTP/1.0', 201, head(fields=[length], version='HTTP/1.0', hostname='') + stream)
answer, _ = talk(head(fields=[length, 'Expect: 100-continue', 'Connection: close']), stream)
if not (answer.startswith(b'HTTP/1.1 100 Continue\r\n\r\n') and b'HTTP/1.1 201 ' in answer):
    failures.append(f'100-continue: {answer[:200]!r}')
# Two uploads and a question on one connection.
again = head(fields=[length]) + stream + head(fields=[length]) + stream + head('HEAD', ['Connection: close'])
answer, _ = talk(again)
if answer.count(b'HTTP/1.1 201 ') != 2 or b'Upload-Offset: %d' % len(stream) not in answer:
    failures.append(f'two uploads on one connection: {answer[:500]!r}')
print('\n'.join(failures) or 'all as expected')
sys.exit(bool(failures))
P
cmp "$work/guest.vmdk" "$work/ds/vm/disk-0.vmdk" || die "the stored stream differs"
complete "$id"
stop
