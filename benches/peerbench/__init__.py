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
#   dataplane ──► dataplane_room      namespaces, mounts and a loop device, gone whatever happens
#             ──► dataplane_servers   the servers that are compared
#                   └──► running_server
#             ──► dataplane_rows, dataplane_rows_own   what is compared
#                   └──► dataplane_hall        servers, clients, one transfer and its check
#                          └──► dataplane_clients
#             ──► dataplane_contest   rows run round by round, interleaved, and checked once
#                   └──► dataplane_meters   processor time and peak memory
#             ──► dataplane_table, dataplane_targets   what is printed; what was promised, met or missed
#
#   all ──► options             the arguments every part has
#        ──► disks              the disks that are converted
#        ──► machine            building, installing, versions, load
#        ──► report             tables, verdicts, and the results as JSON
