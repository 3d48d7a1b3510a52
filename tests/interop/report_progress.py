"""report_progress.py LEASE: another client of the same user reports progress, a little every half second, until the lease has ended."""
from vsphere import *

si = connect()
lease = vim.HttpNfcLease(sys.argv[1], si._stub)
for percent in range(1, 100):
    try:
        lease.Progress(percent)
    except vmodl.MethodFault:
        break
    time.sleep(0.5)
Disconnect(si)
