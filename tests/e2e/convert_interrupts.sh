#!/usr/bin/env bash
# Whoever stops a conversion, at whatever moment, finds nothing left and waits less than two seconds; what was there before is still
# there; and two runs do not write the same file.
# Alone: it has limits of two seconds.
. "$(dirname "$0")/lib.bash"

disk guest 48
python3 -c '
import sys
text = b"".join(b"%d: %x\n" % (i, i * i * 2654435761) for i in range(1 << 20))
for part in range(24): sys.stdout.buffer.write(text)' >"$work/long.raw"
truncate -s %512 "$work/long.raw"
"$DISKFERRY" convert --quiet --no-sync --level fast "$work/long.raw" "$work/long.vmdk"
qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse "$work/long.raw" "$work/long.sparse.vmdk"
mkdir "$work/out"

python3 - "$DISKFERRY" "$work" <<'P'
import os, shutil, signal, subprocess, sys, time
program, work = sys.argv[1:]
out = work + '/out'
complaints = []

def start(*arguments, alone=False, **pipes):
    def prepare():
        # A shell that runs in the background hands down an ignored SIGINT; a user's does not.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if alone: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pipes = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.DEVNULL, **pipes}
    return subprocess.Popen([program, 'convert', '--no-sync', *arguments], stderr=subprocess.PIPE, cwd=work, preexec_fn=prepare, **pipes)

def left(): return sorted(os.listdir(out))
def wait_for(what, run, seconds=10):
    until = time.time() + seconds
    while not what():
        if run.poll() is not None: return False
        if time.time() > until: return False
        time.sleep(0.001)
    return True
def writing():
    return any(name.endswith('.part') and os.stat(f'{out}/{name}').st_blocks > 0 for name in left())

def stopped(what, run, number, before=(), after=0.0, before_work=False):
    time.sleep(after)
    if run.poll() is not None:
        complaints.append(f'{what}: it ended before it was stopped: exit code {run.returncode}: {run.stderr.read().decode()[:300]}')
        return
    began = time.time()
    run.send_signal(number)
    try: run.wait(10)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
    took, said = time.time() - began, run.stderr.read().decode()
    for pipe in (run.stdin, run.stdout):
        if pipe: pipe.close()
    name = signal.Signals(number).name
    # Before it has begun there is nobody to answer 130, and nothing to remove.
    if run.returncode != 130 and not (after < 0.1 and before_work and run.returncode == -number): complaints.append(f'{what}, {name}: exit code {run.returncode} after {took:.1f} s: {said[:300]}')
    if took > 2: complaints.append(f'{what}, {name}: it took {took:.1f} s')
    if 'panicked' in said: complaints.append(f'{what}, {name}: {said[:300]}')
    if left() != sorted(before): complaints.append(f'{what}, {name}: left {left()}')
    for name in left():
        if name not in before: os.remove(f'{out}/{name}')

for number in (signal.SIGINT, signal.SIGTERM):
    # In the middle of work.
    for what, arguments in {
        'raw to stream': ('long.raw', 'out/a.vmdk', '--level', 'best'),
        'raw to stream, one thread': ('long.raw', 'out/a.vmdk', '--level', 'best', '--threads', '1'),
        'stream to raw': ('long.vmdk', 'out/a.raw', '--threads', '1'),
        'stream to stream': ('long.vmdk', 'out/a.vmdk', '--level', 'best', '--to', 'stream'),
        'stream to sparse': ('long.vmdk', 'out/a.vmdk', '--to', 'sparse', '--threads', '1'),
        'stream to flat': ('long.vmdk', 'out/a.vmdk', '--to', 'flat', '--threads', '1'),
        'sparse to raw': ('long.sparse.vmdk', 'out/a.raw', '--threads', '1'),
    }.items():
        run = start(*arguments)
        if not wait_for(writing, run):
            complaints.append(f'{what}: no .part was seen: {left()}, exit code {run.poll()}')
        stopped(what, run, number)
    # At the first sign of work, with all its threads on one processor: whoever is to notice a signal must be ready before anything is made.
    for _ in range(15):
        run = start('long.vmdk', 'out/a.raw', '--threads', '2', alone=True)
        wait_for(left, run)
        stopped('at the first sign of work', run, number)
    # At once, and later.
    for after in (0.02, 0.5, 1.5):
        stopped(f'{after} s after the start', start('long.raw', 'out/a.vmdk', '--level', 'best', '--threads', '1'), number, after=after, before_work=True)
    # While it waits for its input: before the first byte, and in a grain.
    for given in (0, 100, 100_000):
        for target in ('out/a.raw', 'out/a.vmdk'):
            run = start('-', target, '--from', 'stream', stdin=subprocess.PIPE)
            run.stdin.write(open(work + '/guest.vmdk', 'rb').read(given))
            run.stdin.flush()
            stopped(f'an input that stops after {given} bytes', run, number, after=0.3)
    run = start('-', 'out/a.vmdk', '--from', 'raw', '--capacity', '1GiB', stdin=subprocess.PIPE)
    stopped('a raw input that never comes', run, number, after=0.3)
    run = start('--check', '-', stdin=subprocess.PIPE)
    stopped('--check of an input that never comes', run, number, after=0.3)
    # While nobody takes its output.
    for source, to in (('long.raw', 'stream'), ('long.vmdk', 'raw'), ('long.raw', 'raw')):
        run = start(source, '-', '--to', to, stdout=subprocess.PIPE)
        stopped(f'an output of {to} that nobody reads', run, number, after=0.5)
    run = start('--check', 'long.vmdk', '--threads', '1')
    stopped('--check', run, number, after=0.1)
    # What is to be replaced is still there.
    with open(out + '/old.vmdk', 'w') as old: old.write('precious')
    run = start('long.raw', 'out/old.vmdk', '--force', '--level', 'best', '--threads', '1')
    wait_for(writing, run)
    stopped('a replacement', run, number, before=['old.vmdk'])
    if open(out + '/old.vmdk').read() != 'precious': complaints.append('a replacement that was stopped has changed the old file')
    os.remove(out + '/old.vmdk')

# Killed: the part stays; the next run says so, and takes it over when told.
run = start('long.raw', 'out/a.vmdk', '--level', 'best', '--threads', '1')
wait_for(writing, run)
run.kill()
run.wait()
if left() != ['a.vmdk.part']: complaints.append(f'kill -9 left {left()}')
run = start('guest.raw', 'out/a.vmdk')
_, said = run.communicate()
if run.returncode != 2 or b'a.vmdk.part' not in said or left() != ['a.vmdk.part']: complaints.append(f'a part of an earlier run: exit code {run.returncode}, {left()}: {said.decode()}')
run = start('guest.raw', 'out/a.vmdk', '--force')
_, said = run.communicate()
if run.returncode or left() != ['a.vmdk']: complaints.append(f'after kill -9: exit code {run.returncode}, {left()}: {said.decode()}')
if subprocess.run(['qemu-img', 'compare', '-f', 'vmdk', '-F', 'raw', out + '/a.vmdk', work + '/guest.raw'], stdout=subprocess.DEVNULL).returncode:
    complaints.append('after kill -9: the disk differs')
os.remove(out + '/a.vmdk')

# Two runs, one target: the second is told so, the first is not disturbed.
stream = open(work + '/guest.vmdk', 'rb').read()
first = start('-', 'out/a.raw', '--from', 'stream', stdin=subprocess.PIPE)
first.stdin.write(stream[:len(stream) // 2])
first.stdin.flush()
if not wait_for(lambda: left() == ['a.raw.part'], first): complaints.append(f'no part of the first run: {left()}')
for extra in ((), ('--force',)):
    second = start('guest.vmdk', 'out/a.raw', *extra)
    _, said = second.communicate(timeout=20)
    if second.returncode not in (2, 74) or b'a.raw' not in said or not any(word in said for word in (b'another', b'in use', b'busy')):
        complaints.append(f'a second run {extra}: exit code {second.returncode}: {said.decode()}')
if left() != ['a.raw.part']: complaints.append(f'a second run changed: {left()}')
first.stdin.write(stream[len(stream) // 2:])
first.stdin.close()
first.wait(20)
if first.returncode or left() != ['a.raw']: complaints.append(f'the first run: exit code {first.returncode}, {left()}: {first.stderr.read().decode()}')
elif open(out + '/a.raw', 'rb').read() != open(work + '/guest.raw', 'rb').read(): complaints.append('the first run: the disk differs')
for name in left(): os.remove(f'{out}/{name}')

# A source that becomes shorter while it is read is no disk with zeros at its end.
for to in ('stream', 'raw', 'sparse'):
    source = shutil.copy(work + '/long.raw', work + '/shrinking.raw')
    run = start('shrinking.raw', 'out/a.vmdk', '--to', to, '--threads', '1', '--level', 'best', '--sparse', 'off' if to == 'raw' else 'scan')
    wait_for(left, run)
    os.truncate(source, 65536)
    _, said = run.communicate(timeout=60)
    if run.returncode not in (1, 74) or b'shrinking.raw' not in said or left():
        complaints.append(f'a source that shrinks, to {to}: exit code {run.returncode}, left {left()}: {said.decode()}')
    for name in left(): os.remove(f'{out}/{name}')

# Somebody else's file that came meanwhile is not replaced.
first = start('-', 'out/a.raw', '--from', 'stream', stdin=subprocess.PIPE)
first.stdin.write(stream[:1000])
first.stdin.flush()
wait_for(lambda: left() == ['a.raw.part'], first)
with open(out + '/a.raw', 'w') as other: other.write('precious')
_, said = first.communicate(stream[1000:], timeout=20)
if first.returncode not in (2, 74) or left() != ['a.raw'] or open(out + '/a.raw').read() != 'precious':
    complaints.append(f'a file that came meanwhile: exit code {first.returncode}, {left()}: {said.decode()}')
if complaints: sys.exit('\n'.join(complaints))
P
