"""snapshot_churn.py MACHINE: goes back to the snapshots `a` and `b` in turns, and takes and removes one after each, until the server is gone."""
from http.client import HTTPException

from pyVim.task import WaitForTask
from vsphere import *

si = connect()
machine = named(si, vim.VirtualMachine, sys.argv[1])


def flat(trees):
    for tree in trees:
        yield tree
        yield from flat(tree.childSnapshotList)


try:
    for tree in list(flat(machine.snapshot.rootSnapshotList)):
        if tree.name not in ("a", "b"):
            WaitForTask(tree.snapshot.RemoveSnapshot_Task(removeChildren=False))
    snapshots = {tree.name: tree.snapshot for tree in flat(machine.snapshot.rootSnapshotList)}
    print("begun", flush=True)
    while True:
        for name in ("a", "b"):
            WaitForTask(snapshots[name].RevertToSnapshot_Task())
            task = machine.CreateSnapshot_Task(name=f"{name}-more", memory=False, quiesce=False)
            WaitForTask(task)
            WaitForTask(task.info.result.RemoveSnapshot_Task(removeChildren=False))
except (OSError, HTTPException):
    # It was killed, which is what this is for.
    pass
