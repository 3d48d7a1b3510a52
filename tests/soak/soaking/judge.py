# What a run must have been like: each judgement with its figures and its tolerance.
#
# Called by run with everything that was seen. Guarantees: a judgement that could not be made is a failed one.
import os
import statistics

from .cargo import sha1

MIB = 1 << 20
# Memory: the last third of the run against the second one. Buffers come and go, so some noise; and every ended lease is kept for
# an hour to be read, up to the ten thousand that the table holds.
MEMORY_NOISE_BYTES = 4 * MIB
MEMORY_NOISE_SHARE = 0.05
MEMORY_PER_LEASE_BYTES = 6 * 1024
LEASES_KEPT = 10_000
# The journal: its first pages, and for each lease in the table two records; doubled, because freed pages are reused, not returned.
JOURNAL_BASE_BYTES = 4 * MIB
JOURNAL_PER_LEASE_BYTES = 8 * 1024
# Pipes are kept for the next stream: so many ends per data thread.
PIPE_ENDS_PER_THREAD = 2 * 8
LOG_LINES_SHOWN = 5


class Judgement:
    def __init__(self, name, holds, figures):
        self.name = name
        self.holds = bool(holds)
        self.figures = figures

    def __str__(self):
        return f"{'ok    ' if self.holds else 'FAILED'}  {self.name}: {self.figures}"


def mib(size):
    return f"{size / MIB:.1f} MiB"


def contents(voyages, complaints, ledger):
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(voyages.items()))
    figures = f"{sum(voyages.values())} voyages, {ledger.leases} leases, {ledger.moved_bytes / (1 << 30):.2f} GiB checked ({kinds})"
    if complaints:
        figures += f"; {len(complaints)} complaints: " + "; ".join(complaints[:LOG_LINES_SHOWN])
    return Judgement("every client got what it was promised", voyages and not complaints, figures)


def memory(samples):
    name = "memory is flat"
    third = len(samples) // 3
    if third < 5:
        return Judgement(name, False, f"only {len(samples)} samples")
    second, last = samples[third:2 * third], samples[2 * third:]
    median = [statistics.median(sample.resident_bytes for sample in part) for part in (second, last)]
    leases = [statistics.median(min(sample.leases, LEASES_KEPT) for sample in part) for part in (second, last)]
    kept = (leases[1] - leases[0]) * MEMORY_PER_LEASE_BYTES
    allowed = max(MEMORY_NOISE_BYTES, MEMORY_NOISE_SHARE * median[0]) + kept
    figures = (f"median {mib(median[0])} in the second third, {mib(median[1])} in the last; allowed growth {mib(allowed)} "
               f"(noise, and {mib(kept)} for {leases[1] - leases[0]:.0f} more ended leases in the table); "
               f"most {mib(max(sample.resident_bytes for sample in samples))}")
    return Judgement(name, median[1] - median[0] <= allowed, figures)


def descriptors(quiet, end, names):
    spare = PIPE_ENDS_PER_THREAD * data_threads(names)
    before, after = ((s.files, s.sockets, s.others) for s in (quiet, end))
    figures = (f"{sum(before)} at the quiet beginning (files, sockets, others: {before}), {sum(after)} at the quiet end ({after}); "
               f"{end.pipes} pipe ends kept, at most {spare}")
    return Judgement("no descriptor is leaked", before == after and end.pipes <= spare, figures)


def data_threads(names):
    return sum(count for name, count in names.items() if name.startswith("data-"))


def kernel_workers(names):
    """Whether there are no more than the one or two that the kernel keeps for each ring that ever needed one, and how many."""
    workers = sum(count for name, count in names.items() if name.startswith("iou-wrk"))
    return workers <= 2 * data_threads(names), workers


def threads(quiet, end, names):
    shown = ", ".join(f"{name} {count}" for name, count in sorted(names.items()) if not name.startswith("iou-wrk"))
    few, workers = kernel_workers(names)
    figures = (f"{quiet.threads} at the quiet beginning, {end.threads} at the end ({shown}); "
               f"{workers} workers of the kernel, at most {2 * data_threads(names)}")
    return Judgement("no thread is leaked", end.threads <= quiet.threads and few, figures)


def journal(end):
    bound = JOURNAL_BASE_BYTES + JOURNAL_PER_LEASE_BYTES * min(end.leases, LEASES_KEPT)
    figures = f"{mib(end.journal_bytes)} for {end.leases} leases; at most {mib(bound)} ({mib(JOURNAL_BASE_BYTES)} and 8 KiB per lease kept)"
    return Judgement("the journal is bounded", end.journal_bytes <= bound, figures)


def log(path):
    with open(path, errors="replace") as lines:
        bad = [line.strip() for line in lines if "panicked" in line or " ERROR " in line]
    figures = f"{os.path.getsize(path) / MIB:.1f} MiB of log, {len(bad)} panics and errors"
    return Judgement("no panic and no error in the log", not bad, "; ".join([figures, *bad[:LOG_LINES_SHOWN]]))


def datastore(server, ledger):
    found = server.files()
    parts = [name for name in found if name.endswith(".part")]
    orphans = [name for name in found if name not in ledger.objects and name not in parts]
    lost = [name for name in ledger.objects if name not in found]
    figures = f"{len(found)} files; {len(parts)} parts, {len(orphans)} orphans, {len(lost)} lost"
    figures = "; ".join([figures, *(parts + orphans + lost)[:LOG_LINES_SHOWN]])
    return Judgement("nothing is left over and nothing lost", not parts and not orphans and not lost, figures)


def kept(server, ledger):
    wrong = []
    for path, digest in ledger.objects.items():
        try:
            with open(server.stored(path), "rb") as file:
                if sha1(file.read()) != digest:
                    wrong.append(path)
        except OSError as why:
            wrong.append(f"{path}: {why}")
    figures = "; ".join([f"{len(ledger.objects)} objects compared again, {len(wrong)} differ", *wrong[:LOG_LINES_SHOWN]])
    return Judgement("what was kept is what was sent", not wrong, figures)


def stopped(code):
    return Judgement("the server stops when asked", code == 0, f"exit code {code}")
