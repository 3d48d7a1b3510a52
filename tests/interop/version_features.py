"""version_features.py VERSION MACHINE: fields and methods exist from the version on that brought them."""
import re

from vsphere import *

version = tuple(int(part) for part in sys.argv[1].split("."))
si = connect()
same(si._stub.versionId.strip('"').removeprefix("urn:vim25/"), sys.argv[1], "the version pyvmomi chose")
lease = named(si, vim.VirtualMachine, sys.argv[2]).ExportVm()
ready(lease)


def raw(method, object_, inner=""):
    """One call past pyvmomi, which would not send what its version does not have."""
    kind = type(object_).__name__.rsplit(".", 1)[-1]
    body = (f'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><{method} xmlns="urn:vim25">'
            f'<_this type="{kind}">{object_._moId}</_this>{inner}</{method}></e:Body></e:Envelope>')
    response = open_url("POST", f"https://{HOST}:{PORT}/sdk", body.encode(), {"Cookie": si._stub.cookie, "Content-Type": "text/xml"})
    return response.status, response.read().decode()


def has_property(object_, name):
    status, body = raw("Fetch", object_, f"<prop>{name}</prop>")
    expect(status == 200 or "InvalidProperty" in body, f"{name}: {body}")
    return status == 200 and "<returnval" in body


def has_method(method, object_, inner=""):
    status, body = raw(method, object_, inner)
    return not (status == 500 and "MethodNotFound" in body)


for since, name in (((4, 0), "state"), ((6, 7), "transferProgress"), ((6, 7), "mode"), ((6, 7), "capabilities")):
    same(has_property(lease, name), version >= since, f"HttpNfcLease.{name}")
same(has_method("HttpNfcLeaseSetManifestChecksumType", lease), version >= (6, 7), "SetManifestChecksumType")
same(has_method("HttpNfcLeaseProbeUrls", lease), version >= (7, 0, 2, 0), "ProbeUrls")
key = lease.info.deviceUrl[0].key
open_url("GET", lease.info.deviceUrl[0].url).read()
manifest = raw("HttpNfcLeaseGetManifest", lease)[1]
expect(re.search("<sha1>[0-9a-f]{40}</sha1>", manifest), f"the manifest: {manifest}")
same("checksumType" in manifest, version >= (6, 7), "checksumType in the manifest")
expect(version >= (9, 0, 0, 0) or "sslCertificate" not in raw("Fetch", lease, "<prop>info</prop>")[1], "sslCertificate before 9.0")
lease.Complete()
Disconnect(si)
