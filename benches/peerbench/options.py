# Arguments that every part of benches/peers has.
#
# Called by codec, server and dataplane.
from __future__ import annotations


def shared(parser, part, rounds, quick_rounds, quick_takes):
    """Adds --rounds, --quick, --json, --dir and --diskferry, which is also called --program."""
    add = parser.add_argument
    add("--rounds", metavar="N", type=positive, help=f"rounds [default: {rounds}, with --quick {quick_rounds}]")
    add("--quick", action="store_true", help=f"small disks, for trying out: {quick_takes}")
    add("--json", metavar="FILE", help=f"where results are kept [default: target/peers/{part}-DATE.json]")
    add("--dir", metavar="DIR", help="where disks and targets are [default: target/peers]")
    add("--diskferry", "--program", metavar="PROGRAM", help="an already built diskferry to measure")


def positive(text):
    number = int(text)
    if not 1 <= number <= 1000:
        raise ValueError(text)
    return number
