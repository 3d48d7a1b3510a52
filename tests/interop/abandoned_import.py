"""abandoned_import.py DESCRIPTOR NAME: starts an import and goes away without a word, leaving lease and session open."""
import os
import sys

from vsphere import *

si = connect()
lease, items = start_import(si, open(sys.argv[1]).read(), sys.argv[2])
ready(lease)
expect(items, "an import without files")
os._exit(0)
