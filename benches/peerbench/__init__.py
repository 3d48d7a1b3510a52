# The parts of benches/peers. One area per file:
#
#   codec ──► codec_rows        what is compared: command lines
#         ──► codec_targets     what was promised, met or missed
#         ──► contest           rows run round by round, interleaved, and checked once
#               └──► command    one command, measured
#
#   server ──► server_rounds         what is compared: transfers and conversions, round by round, and checked
#                └──► running_server   a server of one's own, and its leases
#                └──► command
#
#   both ──► options            the arguments every part has
#        ──► disks              the disks that are converted
#        ──► machine            building, installing, versions, load
#        ──► report             tables, verdicts, and the results as JSON
