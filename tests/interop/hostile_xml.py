"""hostile_xml.py PID LOG: requests to /sdk that are wrong in one way each, and what comes back."""
import os
import threading

from raw_soap import *
from vsphere import *

pid, log_path = int(sys.argv[1]), sys.argv[2]


def resident_bytes():
    with open(f"/proc/{pid}/status") as status:
        return 1024 * int([line for line in status if line.startswith("VmRSS")][0].split()[1])


def log_lines():
    with open(log_path, "rb") as log:
        return sum(1 for _ in log)


si = connect()
cookie = si._stub.cookie
machine = named(si, vim.VirtualMachine, "web")
folder = si.content.rootFolder._moId
collector = si.content.propertyCollector._moId
memory = resident_bytes()
checked = 0


def answered(what, got, statuses=(500,), fault=None, prop=None):
    """The answer must have one of these statuses and, if given, this fault; the request is logged once at most."""
    global checked, lines
    checked += 1
    status, text = got
    expect(status in statuses, f"{what}: answered {status}: {text[:300]}")
    if status == 500:
        kind, words = fault_of(text) or fail(f"{what}: 500 without a fault: {text[:300]}")
        expect(words, f"{what}: a fault without words")
        if fault:
            expect(kind in (fault if isinstance(fault, tuple) else (fault,)), f"{what}: expected {fault}, got {kind}: {words}")
        if prop:
            expect(f"<invalidProperty>{prop}" in text or f"<name>{prop}" in text, f"{what}: {prop} is not named: {text[-400:]}")
    time.sleep(0.02)
    now = log_lines()
    expect(now - lines <= 1, f"{what}: logged {now - lines} lines")
    lines = now


lines = log_lines()
good = '<CurrentTime><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>'
answered("a good one", post(envelope(good), cookie), (200,))
Invalid = ("InvalidRequest", "InvalidType", "InvalidArgument", "SystemError")

# Not XML, or not an envelope.
for what, body in {
    "nothing": b"", "text": b"hello", "zeros": bytes(1000), "noise": os.urandom(2000), "one bracket": b"<",
    "half an envelope": envelope(good)[:-30], "crossed tags": b"<a><b></a></b>", "two roots": envelope(good) + envelope(good),
    "another root": b"<html><body/></html>", "no body": f'<e:Envelope xmlns:e="{SOAP}"/>'.encode(),
    "empty body": envelope(""), "two calls": envelope(good + good), "text in the body": envelope("hello"),
    "bad UTF-8": envelope("<CurrentTime>\x80</CurrentTime>").replace("\u0080".encode(), b"\xff\xfe"),
    "UTF-16": envelope(good).decode().encode("utf-16"), "NUL inside": envelope(good.replace("<_this", "<_this\0")),
    "unknown prefix": envelope("<vim:CurrentTime/>"), "attribute twice": envelope('<CurrentTime a="1" a="2"/>'),
    "unquoted attribute": envelope("<CurrentTime a=1/>"), "unknown entity": envelope("<CurrentTime>&unknown;</CurrentTime>"),
    "character that is none": envelope("<CurrentTime>&#xFFFFFFFF;</CurrentTime>"),
}.items():
    answered(what, post(body, cookie), (400, 500), Invalid)
# Of the right shape, in a namespace that is not this API's.
for what, body in {
    "wrong namespace": envelope(good, namespace="urn:nonsense"), "no namespace": envelope(good, namespace=""),
    "wrong SOAP": envelope(good).replace(SOAP.encode(), b"http://www.w3.org/2003/05/soap-envelope"),
}.items():
    answered(what, post(body, cookie), (400, 500), Invalid + ("MethodNotFound", "VersionMismatch"))

# Entities that unfold or reach out; a document type is refused as such, nothing of it is read.
laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
for what, head in {
    "billion laughs": f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>',
    "quadratic": f'<!DOCTYPE x [<!ENTITY l9 "{"a" * 50000}">]>',
    "external entity": '<!DOCTYPE x [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>',
    "external subset": f'<!DOCTYPE x SYSTEM "http://{HOST}:{PORT}/x.dtd">',
    "parameter entity": '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
}.items():
    start = time.monotonic()
    got = post(envelope(f"<CurrentTime>{'&l9;' * 50}</CurrentTime>", head=head), cookie)
    answered(what, got, (400, 500), Invalid)
    expect("root:" not in got[1], f"{what}: a file came back")
    expect(time.monotonic() - start < 5, f"{what}: it took {time.monotonic() - start:.1f} s")

# Deep, wide, long.
for what, inner in {
    "deep": "<a>" * 100000 + "</a>" * 100000, "wide": "<a/>" * 100000,
    "many attributes": "<a " + " ".join(f'a{n}="{n}"' for n in range(10000)) + "/>",
    "many namespaces": "<a " + " ".join(f'xmlns:p{n}="urn:{n}"' for n in range(5000)) + "/>",
    "long name": f"<{'a' * 300000}/>", "long text": f"<a>{'a' * 900000}</a>", "comments": "<!-- -->" * 50000,
}.items():
    answered(what, post(envelope(f"<CurrentTime>{inner}</CurrentTime>"), cookie), (200, 400, 413, 500))
# 10 MB, with a length and in chunks, also to nobody's session.
for what, body in {"10 MB": envelope(f"<CurrentTime>{'a' * 10_000_000}</CurrentTime>"),
                   "10 MB of tags": envelope(f"<CurrentTime>{'<a>b</a>' * 1_250_000}</CurrentTime>")}.items():
    for who in (cookie, None):
        for chunked in (False, True):
            try:
                got = post(iter([body[at : at + 65536] for at in range(0, len(body), 65536)]) if chunked else body, who)
            except OSError:
                # Cut off before it was all sent is an answer too.
                got = (413, "")
            answered(what, got, (400, 413, 500))
expect(resident_bytes() < memory + 96 * 2**20, f"memory went from {memory >> 20} to {resident_bytes() >> 20} MiB")

# Calls that are no calls.
def later(*arguments, **options):
    """A call that is made when its turn comes."""
    return lambda: call(*arguments, **options)


def posted(*arguments):
    return lambda: post(*arguments)


vm = f"VirtualMachine:{machine._moId}"
for what, got, fault, prop in [
    ("unknown method", later("Levitate", vm, cookie=cookie), "MethodNotFound", None),
    ("method of another type", later("ExportVm", f"Folder:{folder}", cookie=cookie), ("MethodNotFound", "InvalidType", "InvalidRequest"), None),
    ("no this", posted(envelope("<ExportVm/>"), cookie), Invalid, None),
    ("this without type", posted(envelope(f"<ExportVm><_this>{machine._moId}</_this></ExportVm>"), cookie), None, None),
    ("unknown machine", later("ExportVm", "VirtualMachine:vm-404", cookie=cookie), "ManagedObjectNotFound", None),
    ("unknown lease", later("HttpNfcLeaseComplete", "HttpNfcLease:lease-404", cookie=cookie), "ManagedObjectNotFound", None),
    ("unknown task", later("CancelTask", "Task:task-404", cookie=cookie), "ManagedObjectNotFound", None),
    ("unknown type", later("Fetch", "Unicorn:u-1", "<prop>name</prop>", cookie=cookie), ("ManagedObjectNotFound", "InvalidType", "InvalidRequest"), None),
    ("strange id", later("Fetch", "VirtualMachine:../../etc&amp;&lt;x&gt;", "<prop>name</prop>", cookie=cookie), "ManagedObjectNotFound", None),
    ("no session", later("ExportVm", vm), "NotAuthenticated", None),
    ("wrong session", later("ExportVm", vm, cookie="vmware_soap_session=guess"), "NotAuthenticated", None),
]:
    answered(what, got(), (500,), fault, prop)

# A property that does not exist is refused by its name, or has no value.
got = call("Fetch", vm, "<prop>levitation</prop>", cookie=cookie)
answered("unknown property", got, (200, 500), "InvalidProperty", "levitation")
expect(got[0] == 500 or "<returnval" not in got[1], f"a property that does not exist has a value: {got[1]}")

# Arguments of wrong types: the fault names the property.
lease = machine.ExportVm()
ready(lease)
held = f"HttpNfcLease:{lease._moId}"
for what, got, prop in [
    ("percent that is text", later("HttpNfcLeaseProgress", held, "<percent>half</percent>", cookie=cookie), "percent"),
    ("percent too long", later("HttpNfcLeaseProgress", held, f"<percent>{10**30}</percent>", cookie=cookie), "percent"),
    ("no percent", later("HttpNfcLeaseProgress", held, cookie=cookie), "percent"),
    ("empty percent", later("HttpNfcLeaseProgress", held, "<percent/>", cookie=cookie), "percent"),
    ("flag that is none", later("CreateContainerView", "ViewManager:ViewManager", f'<container type="Folder">{folder}</container><recursive>maybe'
                               "</recursive>", cookie=cookie), "recursive"),
    ("no container", later("CreateContainerView", "ViewManager:ViewManager", "<recursive>true</recursive>", cookie=cookie), "container"),
    ("no spec", later("CreateFilter", f"PropertyCollector:{collector}", "<partialUpdates>true</partialUpdates>", cookie=cookie), "spec"),
    ("size that is negative", later("HttpNfcLeasePullFromUrls_Task", held, "<files><targetDeviceId>x</targetDeviceId><url>http://example.org/"
                                   "</url><create>false</create><size>-1</size></files>", cookie=cookie), None),
]:
    answered(what, got(), (500,), ("InvalidArgument", "InvalidRequest", "InvalidType", "InvalidState"), prop)
# INT32_MIN is what one client really sends.
answered("the least percent", call("HttpNfcLeaseProgress", held, "<percent>-2147483648</percent>", cookie=cookie), (200,))
lease.Abort()

# Traversals that lead in circles, and selections that do not exist.
step = ('<selectSet xsi:type="TraversalSpec"><name>up</name><type>ManagedEntity</type><path>parent</path>'
        "<selectSet><name>up</name></selectSet><selectSet><name>down</name></selectSet></selectSet>"
        '<selectSet xsi:type="TraversalSpec"><name>down</name><type>Folder</type><path>childEntity</path>'
        "<selectSet><name>up</name></selectSet><selectSet><name>down</name></selectSet></selectSet>")


def search(selections, paths="<pathSet>name</pathSet>"):
    return call("RetrievePropertiesEx", f"PropertyCollector:{collector}",
                f"<specSet><propSet><type>ManagedEntity</type>{paths}</propSet><objectSet><obj type=\"Folder\">{folder}</obj>{selections}"
                "</objectSet></specSet><options/>", cookie)


got = search(step)
answered("a traversal in circles", got, (200,))
expect(got[1].count("<objects>") < 100, "a traversal in circles reports objects again and again")
answered("a selection that does not exist", search("<selectSet><name>nowhere</name></selectSet>"), (200, 500))
nested = "".join(f'<selectSet xsi:type="TraversalSpec"><type>Folder</type><path>childEntity</path>' for _ in range(60))
answered("a deep traversal", search(nested + "</selectSet>" * 60), (200, 400, 500))
answered("100,000 paths", search("", "<pathSet>name</pathSet>" * 40000), (200, 400, 413, 500))

# HTTP that is not right.
head = b"POST /sdk HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n"
for what, parts in {
    "a body that ends early": (head + b"Content-Length: 100000\r\n\r\n" + envelope(good),),
    "a length that is none": (head + b"Content-Length: many\r\n\r\n",),
    "two lengths": (head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",),
    "a chunk that is none": (head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",),
    "not HTTP": (b"\x16\x03\x01 hello\r\n\r\n",),
}.items():
    received = bytes_over_tls(*parts)
    expect(not received.startswith(b"HTTP/1.1 200"), f"{what}: was taken: {received[:200]}")
for method in ("PUT", "DELETE", "PATCH"):
    status = open_url(method, f"https://{HOST}:{PORT}/sdk").status
    expect(status in (400, 404, 405), f"{method} /sdk was answered {status}")
lines = log_lines()

# 1,000 clients that wait at once, on one session: each is answered or refused by name, the server goes on, and all end.
own = connect()
mine = own.content.propertyCollector.CreatePropertyCollector()
PC = vmodl.query.PropertyCollector
lease = machine.ExportVm()
ready(lease)
mine.CreateFilter(PC.FilterSpec(objectSet=[PC.ObjectSpec(obj=vim.HttpNfcLease(lease._moId, own._stub))],
                                propSet=[PC.PropertySpec(type=vim.HttpNfcLease, pathSet=["state"])]), False)
version = mine.WaitForUpdatesEx(None, None).version
outcomes, lock = [], threading.Lock()
request = envelope(f'<WaitForUpdatesEx><_this type="PropertyCollector">{mine._moId}</_this><version>{version}</version></WaitForUpdatesEx>')


def wait():
    try:
        status, text = post(request, own._stub.cookie, timeout=120)
        outcome = (status, fault_of(text))
    except OSError as error:
        outcome = (0, (type(error).__name__, str(error)))
    with lock:
        outcomes.append(outcome)


threading.stack_size(256 * 1024)
threads = [threading.Thread(target=wait, daemon=True) for _ in range(1000)]
for thread in threads:
    thread.start()
time.sleep(10)
# While they wait, others are served.
start = time.monotonic()
fresh = connect()
same(named(fresh, vim.VirtualMachine, "web").name, "web", "another client while 1,000 wait")
expect(time.monotonic() - start < 10, f"another client took {time.monotonic() - start:.1f} s")
lease.Abort()
end = time.monotonic() + 60
for thread in threads:
    thread.join(max(0.1, end - time.monotonic()))
same(len(outcomes), 1000, "waits that ended")
answers = sum(1 for status, _ in outcomes if status == 200)
kinds_of_refusal = {outcome for outcome in outcomes if outcome[0] != 200}
expect(answers >= 100, f"only {answers} of 1,000 waits were answered: {kinds_of_refusal}")
for status, fault in kinds_of_refusal:
    expect(status in (429, 503) or (status == 500 and fault and fault[0]), f"a wait was answered {status} {fault}")
print(f"1,000 waits: {answers} answered, {1000 - answers} refused {kinds_of_refusal or ''}")
expect(resident_bytes() < memory + 256 * 2**20, f"memory went from {memory >> 20} to {resident_bytes() >> 20} MiB")
same(named(connect(), vim.VirtualMachine, "web").name, "web", "the server afterwards")
print(f"{checked} requests that should not be, memory {memory >> 20} to {resident_bytes() >> 20} MiB")
