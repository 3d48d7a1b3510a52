# What was promised of the codec, each with the figure that meets or misses it.
#
# Called by codec with the results of its contests. A target whose rows were not measured is neither met nor missed.
from __future__ import annotations

import statistics

from . import codec_rows as rows
from .report import Verdict

PIPELINE_OVER_CEILING = 1.10
PEAK_BYTES = 32 * 2**20
EMPTY_WALL_S = 0.020
LONELY_WALL_S = 0.1


def judge(found):
    """`found`: results by the name of the contest."""
    verdicts = encode(found["encode"])
    verdicts += decode(found["decode own"], "decode of our stream")
    verdicts += decode(found["decode qemu"], "decode of qemu-img's stream")
    verdicts += [
        wall(found["empty"], rows.ours(), EMPTY_WALL_S, "an empty 8 GiB disk is encoded"),
        wall(found["lonely encode"], rows.ours(), LONELY_WALL_S, "3 TiB with four grains is encoded"),
        wall(found["lonely decode"], rows.ours(), LONELY_WALL_S, "3 TiB with four grains is decoded"),
        scan(found["zeros"]),
        memory(found),
        ceiling([found["encode"]], "encode, every level"),
        ceiling([found["decode own"], found["decode qemu"]], "decode"),
    ]
    return verdicts


def encode(results):
    return [
        rate(results, rows.ours("default"), 5.0, "encode default"),
        output(results, rows.ours("default"), 1.0),
        rate(results, rows.ours("balanced"), 7.0, "encode balanced"),
        output(results, rows.ours("balanced"), 1.015),
        rate(results, rows.ours("fast"), 11.0, "encode fast"),
        output(results, rows.ours("fast"), 1.065),
        rate(results, rows.ONE_THREAD, 2.5, "encode default, one thread"),
        processor(results, rows.ours("default"), "encode default"),
    ]


def decode(results, what):
    return [
        rate(results, rows.ours(), 4.8, what),
        rate(results, rows.ONE_THREAD, 2.5, f"{what}, one thread"),
        processor(results, rows.ours(), what),
    ]


def rate(results, row, factor, what):
    target = f"{what}: >= {factor:g}x qemu-img"
    rates = results.rates(row)
    if not rates:
        return absent(target, results, row, rows.QEMU)
    median = statistics.median(rates)
    return Verdict(target, f"{median:.2f}x ({min(rates):.2f}..{max(rates):.2f})", median >= factor)


def output(results, row, factor):
    limit = "no larger than" if factor == 1.0 else f"<= {100 * (factor - 1):+.1f} % of"
    target = f"{row.replace('diskferry', 'encode')}: output {limit} qemu-img's"
    ratio = results.size_ratio(row)
    if ratio is None:
        return absent(target, results, row, rows.QEMU)
    return Verdict(target, f"{100 * (ratio - 1):+.2f} %", ratio <= factor)


def processor(results, row, what):
    target = f"{what}: CPU-seconds per GiB below every peer's"
    if not results.measured(row):
        return absent(target, results, row)
    peers = [result for result in results.all() if result.row.kind == "peer"]
    missing = [result.row.name for result in peers if not result.measured]
    peers = [result.row.name for result in peers if result.measured]
    if not peers:
        return absent(target, results, row, rows.QEMU)
    best = min(peers, key=results.cpu_s_per_gib)
    ours, theirs = results.cpu_s_per_gib(row), results.cpu_s_per_gib(best)
    found = f"{ours:.2f} against {theirs:.2f} ({best})" + "".join(f", {name} not measured" for name in missing)
    # A peer that was not asked has not been beaten.
    met = None if missing and ours < theirs else ours < theirs
    return Verdict(target, found, met)


def wall(results, row, limit_s, what):
    target = f"{what} in under {1000 * limit_s:.0f} ms"
    if not results.measured(row):
        return absent(target, results, row)
    result = results[row]
    found = f"{1000 * result.wall_s:.1f} ms (from {1000 * result.wall_min_s:.1f})"
    return Verdict(target, found, result.wall_s < limit_s)


def scan(results):
    target = "zero scan at memory speed: >= 1x a bare read (dd)"
    rates = results.rates(rows.ours(), rows.READ)
    if not rates:
        return absent(target, results, rows.ours(), rows.READ)
    speed = results.contest.data_bytes / 1e9 / results[rows.ours()].wall_s
    median = statistics.median(rates)
    return Verdict(target, f"{median:.2f}x ({min(rates):.2f}..{max(rates):.2f}), {speed:.1f} GB/s", median >= 1.0)


def memory(found):
    target = f"peak memory under {PEAK_BYTES >> 20} MiB, whatever the disk"
    peaks = [
        (result.peak_bytes, result.row.name, results.contest.title.split(",")[0])
        for results in found.values()
        for result in results.all()
        if result.row.kind == "ours" and result.measured
    ]
    if not peaks:
        return Verdict(target, "not measured", None)
    peak_bytes, name, title = max(peaks)
    return Verdict(target, f"{peak_bytes / 2**20:.1f} MiB ({name}; {title})", peak_bytes < PEAK_BYTES)


def ceiling(contests, what):
    target = f"{what}: pipeline <= {100 * (PIPELINE_OVER_CEILING - 1):.0f} % over the bare loop"
    compared = [over for results in contests for over in overheads(results)]
    if not compared:
        return Verdict(target, "not measured: " + contests[0].absence(rows.ours(), rows.loop()), None)
    cpu, wall_clock = (max(compared, key=lambda over, side=side: over[side]) for side in ("cpu", "wall"))
    found = f"CPU {100 * (cpu['cpu'] - 1):+.1f} % ({cpu['name']}), "
    found += f"wall {100 * (wall_clock['wall'] - 1):+.1f} % ({wall_clock['name']}), at worst"
    writing = [over["cpuOverWriting"] for over in compared if "cpuOverWriting" in over]
    if writing:
        found += f"; CPU over the loop that also writes: {100 * (max(writing) - 1):+.1f} %"
    return Verdict(target, found, max(cpu["cpu"], wall_clock["wall"]) <= PIPELINE_OVER_CEILING)


def overheads(results):
    """The pipeline over the bare loop of the codec library, for every pair that was measured: ratios of CPU, of wall."""
    pairs = [(rows.ours(level), rows.loop(level)) for level in rows.LEVELS]
    pairs += [(rows.ours(), rows.loop())]
    pairs += [(rows.ONE_THREAD, rows.loop("default", 1)), (rows.ONE_THREAD, rows.loop(threads=1))]
    return [overhead(results, ours, loop) for ours, loop in pairs if results.measured(ours, loop)]


def overhead(results, ours, loop):
    over = {
        "name": ours,
        "loop": loop,
        "loopCpuSeconds": results[loop].cpu_s,
        "loopWallSeconds": results[loop].wall_s,
        "cpu": statistics.median(results.cpu_ratios(ours, loop)),
        "wall": 1 / results.rate(ours, loop),
    }
    printed = results[loop].printed
    if printed["level"]:
        # As if the loop knew beforehand which grains do not shrink.
        tried = printed["unshrunk_cpu_seconds"] / printed["cpu_seconds"]
        over["cpuWithoutUnshrunk"] = over["cpu"] / (1 - tried) if tried < 1 else None
        over["unshrunkGrains"], over["grains"] = printed["unshrunk_grains"], printed["grains"]
        # Both did the same work only if this is 1, but for headers and tables.
        over["size"] = results[ours].size_bytes / printed["stream_bytes"]
    writes = loop.replace("bare loop", "bare loop + write")
    if results.measured(writes):
        over["cpuOverWriting"] = statistics.median(results.cpu_ratios(ours, writes))
        over["wallOverWriting"] = 1 / results.rate(ours, writes)
    return over


def absent(target, results, *names):
    return Verdict(target, f"not measured: {results.absence(*names)}", None)
