"""Property collector, views and search index, against a server with machines web, db and cache, the last two in the vApp shop."""
from vsphere import *

PC = vmodl.query.PropertyCollector
si = connect()
content = si.RetrieveContent()
collector, root = content.propertyCollector, content.rootFolder
datacenter = root.childEntity[0]
MACHINES = ["cache", "db", "web"]


def view_spec(kind, paths, view):
    step = PC.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
    return PC.FilterSpec(objectSet=[PC.ObjectSpec(obj=view, skip=True, selectSet=[step])],
                         propSet=[PC.PropertySpec(type=kind, pathSet=paths, all=not paths)])


def container(kinds, recursive=True, of=None):
    return content.viewManager.CreateContainerView(of or root, kinds, recursive)


def values(objects):
    """[{path: value}] of what was retrieved."""
    return [{change.name: change.val for change in item.propSet} for item in objects]


# Everything in pages of one, then in one go, then by the old method.
view = container([vim.VirtualMachine])
spec = view_spec(vim.VirtualMachine, ["name", "runtime.powerState", "config.hardware.numCPU", "summary.config"], view)
page, objects, pages = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions(maxObjects=1)), [], 0
while True:
    pages += 1
    expect(len(page.objects) <= 1 or not page.token, f"a page of {len(page.objects)} objects")
    objects += page.objects
    if not page.token:
        break
    page = collector.ContinueRetrievePropertiesEx(page.token)
same(sorted(item["name"] for item in values(objects)), MACHINES, f"machines in {pages} pages")
whole = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions())
same(sorted(item["name"] for item in values(whole.objects)), MACHINES, "machines at once")
same(whole.token, None, "a token after the last page")
same(sorted(item["name"] for item in values(collector.RetrieveProperties([spec]))), MACHINES, "machines by RetrieveProperties")
web = [item for item in values(whole.objects) if item["name"] == "web"][0]
same((web["runtime.powerState"], web["config.hardware.numCPU"], web["summary.config"].name), ("poweredOff", 2, "web"), "nested properties")
if pages > 1:
    page = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions(maxObjects=1))
    collector.CancelRetrievePropertiesEx(page.token)
refused((vmodl.fault.InvalidArgument, vmodl.query.InvalidProperty, vmodl.fault.ManagedObjectNotFound),
        lambda: collector.ContinueRetrievePropertiesEx("no-such-token"), "a token nobody gave")
# A property that does not exist is refused by its name or left out; the others come either way or not at all.
for path in ("levitation", "config.levitation"):
    try:
        found = values(collector.RetrieveProperties([view_spec(vim.VirtualMachine, ["name", path], view)]))
    except vmodl.query.InvalidProperty as fault:
        same(fault.name, path, "the property in the fault")
    else:
        same([sorted(item) for item in found], [["name"]] * 3, f"what is retrieved beside {path}")

# By inheritance: ManagedEntity is every kind, a view of ComputeResource lists what there is.
every_entity = collector.RetrieveProperties([view_spec(vim.ManagedEntity, ["name"], container([vim.ManagedEntity]))])
kinds_found = {type(item.obj) for item in every_entity}
for kind in (vim.Datacenter, vim.Folder, vim.VirtualMachine, vim.VirtualApp, vim.ComputeResource, vim.HostSystem, vim.ResourcePool, vim.Datastore,
             vim.Network):
    expect(kind in kinds_found, f"no {kind.__name__} among all entities")
expect(root not in [item.obj for item in every_entity], "a view contains its own container")
same(sorted(item.name for item in container([vim.ResourcePool]).view), ["Resources", "shop"], "pools, of which a vApp is one")
same(sorted(item.name for item in container([vim.VirtualMachine], False, datacenter.vmFolder).view), ["web"], "directly in a folder")
same(sorted(item.name for item in container([], True, named(si, vim.VirtualApp, "shop")).view), ["cache", "db"], "in a vApp")

# The whole tree from the root, as inventory scripts walk it.
STEPS = {"folder": (vim.Folder, "childEntity"), "vm": (vim.Datacenter, "vmFolder"), "host": (vim.Datacenter, "hostFolder"),
         "store": (vim.Datacenter, "datastoreFolder"), "net": (vim.Datacenter, "networkFolder"), "pool": (vim.ComputeResource, "resourcePool"),
         "hosts": (vim.ComputeResource, "host"), "pools": (vim.ResourcePool, "resourcePool"), "members": (vim.ResourcePool, "vm")}
steps = [PC.TraversalSpec(name=name, type=kind, path=path, skip=False, selectSet=[PC.SelectionSpec(name=other) for other in STEPS])
         for name, (kind, path) in STEPS.items()]
walked = collector.RetrieveProperties([PC.FilterSpec(objectSet=[PC.ObjectSpec(obj=root, skip=False, selectSet=steps)],
                                                     propSet=[PC.PropertySpec(type=vim.ManagedEntity, pathSet=["name", "parent"])])])
same(len({item.obj._moId for item in walked}), len(walked), "objects that were reported twice")
same(sorted(value["name"] for item, value in zip(walked, values(walked)) if isinstance(item.obj, vim.VirtualMachine)), MACHINES, "machines walked to")
# Every chain of parents ends at the root; that of a machine in a vApp goes through the vApp.
for item in [item.obj for item in walked]:
    for _ in range(10):
        if item == root:
            break
        item = item.parent or (isinstance(item, vim.VirtualMachine) and item.parentVApp)
        expect(item, "a chain of parents that ends early")
    same(item, root, "where parents lead")
db = named(si, vim.VirtualMachine, "db")
same((db.parent, db.parentVApp.name, db.resourcePool.name), (None, "shop", "shop"), "a machine in a vApp")

# Several objects and kinds in one request; a moref that is gone is refused by name.
both = collector.RetrieveProperties([PC.FilterSpec(
    objectSet=[PC.ObjectSpec(obj=db), PC.ObjectSpec(obj=datacenter)],
    propSet=[PC.PropertySpec(type=vim.VirtualMachine, pathSet=["name"]), PC.PropertySpec(type=vim.Datacenter, pathSet=["name", "vmFolder"])])])
same(sorted(value["name"] for value in values(both)), ["db", "ha-datacenter"], "two kinds at once")
refused(vmodl.fault.ManagedObjectNotFound, lambda: collector.RetrieveProperties([PC.FilterSpec(
    objectSet=[PC.ObjectSpec(obj=vim.VirtualMachine("vm-404", si._stub))], propSet=[PC.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])])]),
    "a machine that does not exist")

# The search index.
index = content.searchIndex
for path in ("ha-datacenter/vm/web", "/ha-datacenter/vm/web"):
    same(index.FindByInventoryPath(path).name, "web", path)
same(index.FindByInventoryPath("ha-datacenter/vm/nothing"), None, "a path to nothing")
same(index.FindChild(datacenter.vmFolder, "web").name, "web", "FindChild")
uuid = named(si, vim.VirtualMachine, "web").config
same(index.FindByUuid(None, uuid.uuid, True, False).name, "web", "by UUID")
same(index.FindByUuid(None, uuid.instanceUuid, True, True).name, "web", "by instance UUID")
same(index.FindByUuid(datacenter, uuid.uuid.upper(), True).name, "web", "by UUID in capitals")
same(index.FindByUuid(None, "00000000-0000-0000-0000-000000000000", True), None, "by a UUID nobody has")
same(index.FindByDnsName(None, "web.example", True), None, "by a name nobody has")
same(index.FindByIp(None, "192.0.2.1", True), None, "by an address nobody has")

# A list view holds what it was given, follows ResetListView and ModifyListView, and wakes a filter that walks it.
machines = every(si, vim.VirtualMachine)
lists = content.viewManager.CreateListView([machines[0]])
own = collector.CreatePropertyCollector()
step = PC.TraversalSpec(name="view", type=vim.view.ListView, path="view", skip=False)
own.CreateFilter(PC.FilterSpec(objectSet=[PC.ObjectSpec(obj=lists, selectSet=[step])],
                               propSet=[PC.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])]), False)
update = own.WaitForUpdatesEx(None, None)
lists.ResetListView(machines)
update = own.WaitForUpdatesEx(update.version, PC.WaitOptions(maxWaitSeconds=5))
same(sorted(item.kind for one in update.filterSet for item in one.objectSet), ["enter", "enter"], "after ResetListView")
lists.ModifyListView(None, [machines[0]])
update = own.WaitForUpdatesEx(update.version, PC.WaitOptions(maxWaitSeconds=5))
same([(item.kind, item.obj) for one in update.filterSet for item in one.objectSet], [("leave", machines[0])], "after ModifyListView")
lists.DestroyView()
refused(vmodl.fault.ManagedObjectNotFound, lambda: lists.view, "a view that was destroyed")

# Two filters on the session's own collector: each tells of its own, a destroyed one of nothing.
first = collector.CreateFilter(PC.FilterSpec(objectSet=[PC.ObjectSpec(obj=machines[0])],
                                             propSet=[PC.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])]), False)
second = collector.CreateFilter(PC.FilterSpec(objectSet=[PC.ObjectSpec(obj=machines[1])],
                                              propSet=[PC.PropertySpec(type=vim.VirtualMachine, all=True)]), True)
update = collector.WaitForUpdates(None)
same({one.filter for one in update.filterSet}, {first, second}, "filters that tell")
second.Destroy()
update = collector.WaitForUpdates(None)
same({one.filter for one in update.filterSet}, {first}, "filters that tell after one is destroyed")
same(collector.filter, [first], "filters of the collector")
first.Destroy()
Disconnect(si)
