"""read_everything.py [TYPE...]: reads every property of every object pyvmomi can reach, as the version the server negotiated.

Objects of the named types must be among them.

pyvmomi gives up on a whole answer for one unknown field or one empty enumeration, so what it reads here it can read everywhere.
"""
from pyVmomi.VmomiSupport import DataObject, IsChildVersion, ManagedObject
from vsphere import *

si = connect()
seen, count = set(), 0
content = si.RetrieveContent()
queue = [si, content.rootFolder]
# Managers whose properties clients look at; others may be missing, and then are unset.
queue += [manager for manager in (content.propertyCollector, content.viewManager, content.sessionManager, content.taskManager,
                                  content.ovfManager, content.searchIndex, content.fileManager, content.virtualDiskManager) if manager]


def references(value):
    """The managed objects a value speaks of."""
    if isinstance(value, ManagedObject):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, DataObject):
        for info in value._GetPropertyList():
            yield from references(getattr(value, info.name))


while queue:
    item = queue.pop()
    key = (type(item).__name__, item._moId)
    if key in seen:
        continue
    seen.add(key)
    for info in item._GetPropertyList():
        # pyvmomi itself refuses what the negotiated version does not have.
        if not IsChildVersion(si._stub.version, info.version):
            continue
        try:
            value = getattr(item, info.name)
        except vmodl.MethodFault as fault:
            fail(f"{key}.{info.name}: {type(fault).__name__}: {fault.msg}")
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            fail(f"{key}.{info.name} cannot be decoded: {error}")
        count += 1
        queue.extend(references(value))

kinds = {kind for kind, _ in seen}
for kind in ("vim.ServiceInstance", "vim.Folder", "vim.Datacenter", "vim.VirtualMachine", "vim.Datastore", "vim.HostSystem",
             "vim.ResourcePool", "vim.Network", "vim.ComputeResource", *sys.argv[1:]):
    expect(kind in kinds, f"no {kind} was reached: {sorted(kinds)}")
Disconnect(si)
print(f"read {count} properties of {len(seen)} objects as {si._stub.versionId}")
