# What `peers dataplane` prints of a contest.
#
# Called by dataplane.
from __future__ import annotations

import statistics

from . import report
from .dataplane_contest import rate, server_cost, whole_cost

MIB = 2**20
HEADINGS = ["", "client", "GB/s", "min..max", "CPU-s/GiB", "kernel", "client's", "peak MiB"]
HEADINGS += ["rate", "CPU", "CPU+kernel"]
SETTLE, SHARE = "sync after, s", "share"


def show(results):
    """The table of one contest, and why contenders are missing from it."""
    contest = results.contest
    print(f"\n{contest.key}: {contest.title}")
    measured = [result for result in results.all() if result.measured]
    settles = any(result.median("settle_s") > 0.02 and result.contender.targets for result in measured)
    shares = any(result.contender.streams > 1 for result in measured)
    extra = ([SETTLE] if settles else []) + ([SHARE] if shares else [])
    if measured:
        report.table(HEADINGS + extra, [line(results, result, extra) for result in measured])
    for result in results.all():
        if not result.measured:
            print(f"  NOT MEASURED  {result.contender.label}: {result.absent()}")
    checked = sum(result.checked for result in results.all())
    checkable = sum(result.contender.check is not None for result in measured)
    report.notes([f"contents checked: {checked} of {checkable}", *contest.notes])


def line(results, result, extra):
    contender = result.contender
    server = contender.server is not None
    rates = result.rates()
    cells = [
        contender.name,
        contender.client.name,
        f"{statistics.median(rates):.2f}",
        f"{min(rates):.2f}..{max(rates):.2f}",
        f"{result.per_gib('server_s'):.3f}" if server else "-",
        f"{result.per_gib('kernel_s'):.3f}",
        f"{result.per_gib('client_s'):.3f}",
        f"{max(sample.peak_bytes for sample in result.samples) / MIB:.0f}" if server else "-",
        ratio(results, result, rate),
        ratio(results, result, server_cost) if server else "-",
        ratio(results, result, whole_cost) if server else "-",
    ]
    if SETTLE in extra:
        cells.append(f"{result.median('settle_s'):.2f}" if contender.targets else "-")
    if SHARE in extra:
        cells.append(share(result))
    return cells


def ratio(results, result, figure):
    against = result.contender.against
    if not against:
        return "-"
    if result.contender.name.startswith("diskferry"):
        # A variant of ours: itself over the one it varies.
        ratios = results.ratios(result.contender.label, against, figure)
    else:
        ratios = results.ratios(against, result.contender.label, figure)
    return f"{statistics.median(ratios):.2f}x" if ratios else "-"


def share(result):
    if result.contender.streams == 1:
        return "-"
    over_time = result.median("share_over_time")
    return f"{result.median('share_at_first_end'):.2f} {over_time:.2f}"
