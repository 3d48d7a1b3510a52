# What was promised for the byte path, and whether a run kept it.
#
# Called by dataplane. A rate is met if the median over the rounds of ours over theirs is; processor time likewise, of
# the server's processes (what the kernel's threads took is in the table and in the JSON).
from __future__ import annotations

import statistics

from . import dataplane_hall as hall
from . import dataplane_rows_own as own
from .dataplane_contest import rate, server_cost
from .report import Verdict

WHARF, EXPECT, CURL = "wharf", "wharf, Expect", "curl"
# Row, client, peers of which the fastest counts, least rate, most processor time.
AGAINST_PEERS = (
    ("put-tmpfs", WHARF, (hall.NGINX,), 1.1, 0.8),
    ("put-disk", WHARF, (hall.NGINX,), 1.0, 0.55),
    ("put-disk-expect", EXPECT, (hall.NGINX,), 1.0, 0.25),
    ("put-disk-expect", CURL, (hall.NGINX,), 1.0, 0.25),
    ("get-cached", WHARF, (hall.NGINX,), 1.0, 0.9),
    ("get-cold", WHARF, (hall.NGINX, hall.NGINX_THREADS), 1.5, 1.2),
    ("put-tls", WHARF, (hall.NGINX,), 1.5, 0.7),
    ("get-tls", WHARF, (hall.NGINX,), 1.8, 0.6),
)
OF_SLOWER_PART = 0.85
OF_ONE_STREAM, FAIR = 0.95, 0.5
MANY = 64


def judge(found):
    """Verdicts on all targets whose rows were run; `found`: results by the key of their row."""
    verdicts = []
    for key, client, peers, least_rate, most_cpu in AGAINST_PEERS:
        if key in found:
            verdicts += against_peers(found[key], key, client, peers, least_rate, most_cpu)
    if "put-raw" in found:
        verdicts.append(parts(found["put-raw"]))
    for key in ("put-streams", "get-streams"):
        if key in found:
            verdicts += many_streams(found[key], key)
    if "relay" in found:
        verdicts.append(Verdict("relay: <= 1x the CPU of haproxy's TCP splice", own.NOT_BUILT, None))
    return verdicts


def against_peers(results, key, client, peers, least_rate, most_cpu):
    ours = f"{hall.OURS} ({client})"
    rates = {peer: results.ratios(ours, peer, rate) for peer in (f"{name} ({client})" for name in peers)}
    rates = {peer: ratios for peer, ratios in rates.items() if ratios}
    texts = f"{key} ({client}): rate >= {least_rate}x", f"{key} ({client}): CPU <= {most_cpu}x"
    if not rates:
        return [Verdict(text, "not measured", None) for text in texts]
    # The peer at its best: the one we lead by the least.
    best = min(rates, key=lambda peer: statistics.median(rates[peer]))
    costs = results.ratios(ours, best, server_cost)
    return [
        verdict(texts[0], rates[best], best, lambda median: median >= least_rate),
        verdict(texts[1], costs, best, lambda median: median <= most_cpu),
    ]


def verdict(text, ratios, peer, kept):
    if not ratios:
        return Verdict(text, "not measured", None)
    return Verdict(text, f"{spread(ratios)} of {peer}", kept(statistics.median(ratios)))


def parts(results):
    text = f"put-raw: rate >= {OF_SLOWER_PART:.0%} of the slower part alone"
    ours = f"{hall.OURS} (wharf)"
    alone = [result for result in results.all() if result.contender.name in (own.INFLATE, own.WRITE)]
    if not all(result.measured for result in [results[ours], *alone]):
        return Verdict(text, "not measured", None)
    slower = max(alone, key=lambda result: result.median("wall_s")).contender.label
    return verdict(text, results.ratios(ours, slower, rate), slower, lambda median: median >= OF_SLOWER_PART)


def many_streams(results, key):
    labels = {result.contender.streams: label for label, result in results.by_label.items() if ours(result)}
    texts = (
        f"{key}: {MANY} streams >= {OF_ONE_STREAM}x the rate of one",
        f"{key}: {MANY} streams, slowest >= {FAIR} of fastest",
    )
    if not all(results[labels[count]].measured for count in (1, MANY)):
        return [Verdict(text, "not measured", None) for text in texts]
    shares = [sample.share_at_first_end for sample in results[labels[MANY]].samples]
    over_time = statistics.median(sample.share_over_time for sample in results[labels[MANY]].samples)
    fair = Verdict(
        texts[1],
        f"{statistics.median(shares):.2f} when the first ended, {over_time:.2f} by their times",
        statistics.median(shares) >= FAIR,
    )
    ratios = results.ratios(labels[MANY], labels[1], rate)
    return [verdict(texts[0], ratios, "one stream", lambda median: median >= OF_ONE_STREAM), fair]


def ours(result):
    return result.contender.name.startswith(f"{hall.OURS}, ")


def spread(ratios):
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f}..{max(ratios):.2f})"
