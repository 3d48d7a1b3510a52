# The parts of benches/peers. One area per file:
#
#   codec ──► codec_rows        what is compared: command lines
#         ──► codec_targets     what was promised, met or missed
#         ──► contest           rows run round by round, interleaved, and checked once
#               └──► command    one command, measured
#         ──► disks             the disks that are converted
#         ──► machine           building, installing, versions, load
#         ──► report            tables, and the results as JSON
