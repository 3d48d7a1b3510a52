#!/usr/bin/env bash
# Reading the inventory in bulk, as inventory scripts and newer clients do: RetrievePropertiesEx with pages, partial paths and traversals,
# container and list views, the search index, filters on the session's own collector, and what of it is refused.
. "$(dirname "$0")/lib.bash"

for name in web db cache; do mkdir -p "$work/ds/$name"; truncate -s 16M "$work/ds/$name/disk-0.raw"; done
site '
[vm.web]
cpus = 2
disks = ["[default] web/disk-0.raw"]
[vm.db]
disks = ["[default] db/disk-0.raw"]
[vm.cache]
disks = ["[default] cache/disk-0.raw"]
[vapp.shop]
vms = ["db", "cache"]
'
sail
as passenger "$reader_password"
program retrieve.py
stop
