"""pull.py OVF DIRECTORY KEY CERTIFICATE: appliances that a lease fetches itself; prints `pulled NAME` for each that stays."""
import hashlib

from pyVim.task import WaitForTask
from sources import Source
from vsphere import *

descriptor_path, directory, key, certificate = sys.argv[1:]
descriptor = open(descriptor_path).read()
plain, secure = Source(directory), Source(directory, certificate, key)
der = ssl.PEM_cert_to_DER_cert(open(certificate).read())
sha1 = hashlib.sha1(der).hexdigest().upper()
thumbprint = ":".join(sha1[at : at + 2] for at in range(0, len(sha1), 2))
SourceFile = vim.HttpNfcLease.SourceFile
si = connect()


def begin(name):
    lease, items = start_import(si, descriptor, name)
    ready(lease)
    same(lease.capabilities.pullModeSupported, True, "pullModeSupported")
    return lease, items


def pulled(name, files, slow=False):
    """Pulls and completes; `files` makes the SourceFiles of the fileItems."""
    lease, items = begin(name)
    told, start = [], time.monotonic()
    task = lease.PullFromUrls(files(items))
    same(WaitForTask(task, onProgressUpdate=lambda _, percent: told.append(percent)), vim.TaskInfo.State.success, f"{name}: pull")
    same(task.info.state, vim.TaskInfo.State.success, f"{name}: state of the task")
    if slow:
        expect(time.monotonic() - start > lease.info.leaseTimeout, f"{name}: it was to take longer than the lease's timeout")
        numbers = [percent for percent in told if isinstance(percent, int)]
        expect(len(numbers) > 3 and numbers == sorted(numbers), f"{name}: progress was {told}")
    lease.Complete()
    same(lease.state, vim.HttpNfcLease.State.done, f"{name}: state")
    print(f"pulled {name}")


def failed(name, files, kind, text=""):
    """The pull must fail with that fault; nothing of the import stays."""
    lease, items = begin(name)
    task = lease.PullFromUrls(files(items))
    fault = refused(kind, lambda: WaitForTask(task), name)
    expect(text in fault.msg, f"{name}: expected {text!r} in the message: {fault.msg}")
    same(task.info.state, vim.TaskInfo.State.error, f"{name}: state of the task")
    if lease.state == vim.HttpNfcLease.State.ready:
        lease.Abort()
    same(lease.state, vim.HttpNfcLease.State.error, f"{name}: state of the lease")
    until(15, lambda: name not in names(si, vim.VirtualMachine), f"{name}: the machine goes")
    print(f"refused {name}: {type(fault).__name__}: {fault.msg}")
    return fault


def members(source, manners="plain", **fields):
    """Everything out of the OVA, as Ansible does it."""
    return lambda items: [SourceFile(targetDeviceId=item.deviceId, url=source.url(f"{manners}/box.ova"), memberName=item.path,
                                     create=bool(item.create), size=item.size, **fields) for item in items]


def singly(source, manners="plain", **fields):
    """Each file by itself, its size found by HEAD."""
    return lambda items: [SourceFile(targetDeviceId=item.deviceId, url=source.url(f"{manners}/{item.path}"), create=bool(item.create),
                                     **fields) for item in items]


token = [vim.KeyValue(key="X-Token", value="very-secret-header")]
pulled("members", members(plain))
pulled("singly", singly(plain))
pulled("pinned", members(secure, sslThumbprint=thumbprint))
pulled("headers", singly(plain, "guarded", httpHeaders=token))
# What HEAD says is a hint; what arrives counts.
pulled("hinted", singly(plain, "lying"))
pulled("slowly", singly(plain, "slow"), slow=True)

VerifyFault = vim.fault.SSLVerifyFault
fault = failed("wrong-pin", members(secure, sslThumbprint=":".join(["AB"] * 20)), VerifyFault)
same(fault.thumbprint.upper(), thumbprint, "the thumbprint in the fault, for whoever wants to trust it")
failed("no-pin", members(secure), VerifyFault)
same(failed("gone", singly(plain, "gone"), vim.fault.HttpFault).statusCode, 404, "status in the fault")
same(failed("no-token", singly(plain, "guarded"), vim.fault.HttpFault).statusCode, 403, "status in the fault")
failed("cut", singly(plain, "cut"), vmodl.MethodFault)
failed("wrong-size", singly(plain, size=1000), vmodl.MethodFault)
failed("elsewhere", singly(plain, "elsewhere"), vmodl.MethodFault)
failed("no-member", lambda items: [SourceFile(targetDeviceId=item.deviceId, url=plain.url("plain/box.ova"), create=False,
                                              memberName=f"none-{item.path}") for item in items], vmodl.MethodFault, "none-")
failed("no-disk", lambda items: [SourceFile(targetDeviceId=item.deviceId, url=plain.url("plain/box.ova"), create=False)
                                 for item in items], vmodl.MethodFault)

# Arguments that cannot be right are refused at once, and the lease can still be used.
lease, items = begin("arguments")
good = singly(plain)(items)
bad = {
    "device": [SourceFile(targetDeviceId="/nobody/disk:0", url=good[0].url, create=False)],
    "scheme": [SourceFile(targetDeviceId=items[0].deviceId, url="gopher://127.0.0.1/x", create=False)],
    "file": [SourceFile(targetDeviceId=items[0].deviceId, url="file:///etc/passwd", create=False)],
    "url": [SourceFile(targetDeviceId=items[0].deviceId, url="not a url", create=False)],
    "twice": [good[0], good[0]],
    "thumbprint": [SourceFile(targetDeviceId=items[0].deviceId, url=secure.url("plain/guest.vmdk"), create=False, sslThumbprint="AB:CD")],
    "header": [SourceFile(targetDeviceId=items[0].deviceId, url=good[0].url, create=False,
                          httpHeaders=[vim.KeyValue(key="X-A", value="a\r\nX-B: b")])],
}
for what, files in bad.items():
    try:
        WaitForTask(lease.PullFromUrls(files))
    except vmodl.MethodFault as fault:
        expect(fault.msg, f"{what}: a fault without words")
        if isinstance(fault, vmodl.fault.InvalidArgument):
            expect(fault.invalidProperty, f"{what}: InvalidArgument without its property")
    else:
        fail(f"{what}: was taken")
    if lease.state != vim.HttpNfcLease.State.ready:
        lease, items = begin(f"arguments-after-{what}")
probes = lease.ProbeUrls([good[0], SourceFile(targetDeviceId=items[1].deviceId, url="http://127.0.0.1:1/x", create=False)], 5)
same([probe.serverAccessible for probe in probes], [True, False], "ProbeUrls")
lease.Abort()

# Cancelled: the source is left alone, the reason is the client's.
lease, items = begin("cancelled")
task = lease.PullFromUrls(singly(plain, "slow")(items))
until(15, lambda: (task.info.progress or 0) > 0, "the pull moves")
same(lease.mode, "pull", "mode while it pulls")
task.CancelTask()
refused(vmodl.fault.RequestCanceled, lambda: WaitForTask(task), "a cancelled pull")
expect(task.info.cancelled, "a cancelled task does not say so")
refused(vim.fault.InvalidState, task.CancelTask, "cancelling once more")
if lease.state == vim.HttpNfcLease.State.ready:
    lease.Abort()
asked = len(plain.requests)
time.sleep(1)
same(len(plain.requests), asked, "requests after the end")
until(15, lambda: "cancelled" not in names(si, vim.VirtualMachine), "the machine goes")

# A lease that is aborted takes its pull with it.
lease, items = begin("aborted")
task = lease.PullFromUrls(singly(plain, "slow")(items))
until(15, lambda: (task.info.progress or 0) > 0, "the pull moves")
lease.Abort()
until(15, lambda: task.info.state == vim.TaskInfo.State.error, "the pull ends with its lease")
Disconnect(si)
