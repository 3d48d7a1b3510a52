# Results of earlier runs of `peers dataplane`, out of the JSON they have kept: where the machine cannot be had for as long
# as all rows take, each row is run by itself, and the table is made of all of them.
#
# Called by dataplane. Guarantees: nothing is measured here, no figure of one round is compared with one of another run's;
# of a row that several files have, the last one counts.
from __future__ import annotations

import json

from . import dataplane_table, dataplane_targets, report
from .dataplane_contest import Contender, Contest, Result, Results, Sample


class Client:
    """As much of a client as a result has."""

    def __init__(self, name):
        self.name = name


def show(paths, place):
    """Prints the tables and verdicts of all files as if they were one run, and keeps that."""
    rows, machines = {}, {}
    for path in paths:
        with open(path) as kept:
            run = json.load(kept)
        report.introduce(run["machine"])
        report.load(run["machine"])
        rows.update(run["rows"])
        machines.update(dict.fromkeys(run["rows"], run["machine"]))
    found = {key: results(key, row) for key, row in rows.items() if "contenders" in row}
    for key, row in rows.items():
        if key in found:
            dataplane_table.show(found[key])
            report.notes([f"run of {machines[key]['date']}, others {machines[key]['othersPercent']:.0f} %"])
        else:
            print(f"\n{key}: NOT MEASURED")
    judged = dataplane_targets.judge(found)
    report.verdicts(judged)
    report.keep(place, {"machines": machines, "rows": rows, "targets": [vars(verdict) for verdict in judged]})
    return 0


def results(key, row):
    """A row as it was when it was measured, as far as tables and targets ask for it."""
    contenders = [contender(kept) for kept in row["contenders"]]
    contest = Contest(key, row["title"], row["dataBytes"], contenders, folder="", notes=row.get("notes", []))
    made = Results(contest)
    for one, kept in zip(contenders, row["contenders"]):
        result = Result(one, kept["dataBytes"], [sample(figures) for figures in kept["samples"]])
        result.checked = kept["checked"]
        made.by_label[one.label] = result
    return made


def contender(kept):
    made = Contender(kept["name"], Client(kept["client"]) if kept["client"] else None, against=kept["against"])
    # The table only asks whether there is one.
    made.server = None if kept["samples"] and kept["samples"][0]["peakBytes"] == 0 else kept["name"]
    made.targets = [kept["name"]] if kept.get("makesTargets") else []
    made.check = repr if kept.get("checkable") else None
    made.streams, made.missing = kept["streams"], kept.get("absent")
    return made


def sample(figures):
    return Sample(
        wall_s=figures["wallSeconds"],
        server_s=figures["serverCpuSeconds"],
        kernel_s=figures["kernelCpuSeconds"],
        client_s=figures["clientCpuSeconds"],
        peak_bytes=figures["peakBytes"],
        others_percent=figures["othersPercent"],
        settle_s=figures["settleSeconds"],
        settle_kernel_s=figures["settleKernelCpuSeconds"],
        share_at_first_end=figures["shareAtFirstEnd"],
        share_over_time=figures["shareOverTime"],
    )
