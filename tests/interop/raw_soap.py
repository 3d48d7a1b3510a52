"""SOAP without a library: what a client can send that pyvmomi would not."""
import re
import socket
import ssl

from vsphere import HOST, PORT, UNVERIFIED, fail, open_url

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
XSD = "http://www.w3.org/2001/XMLSchema"


def envelope(body, namespace="urn:vim25", head=""):
    """An envelope around the inside of a Body."""
    return (f'<?xml version="1.0" encoding="UTF-8"?>{head}<e:Envelope xmlns:e="{SOAP}" xmlns:xsi="{XSI}" xmlns:xsd="{XSD}">'
            f'<e:Body xmlns="{namespace}">{body}</e:Body></e:Envelope>').encode()


def post(body, cookie=None, headers=None, timeout=60):
    """(status, text) of one POST; a list of chunks goes out chunked."""
    fields = {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": "urn:vim25/8.0.2.0", "Connection": "close"}
    if cookie:
        fields["Cookie"] = cookie
    fields.update(headers or {})
    response = open_url("POST", f"https://{HOST}:{PORT}/sdk", body, fields, timeout)
    return response.status, response.read().decode("utf-8", "replace")


def fault_of(text):
    """(type, faultstring) of a SOAP fault, or None."""
    if "Fault" not in text:
        return None
    detail = re.search(r"<detail>\s*<(?:\w+:)?(\w+)Fault\b[^>]*", text)
    words = re.search(r"<faultstring>(.*?)</faultstring>", text, re.S)
    return (detail.group(1) if detail else None, words.group(1) if words else "")


def call(method, this, inner="", cookie=None, **options):
    """Calls a method on `Type:id`; (status, text)."""
    kind, _, name = this.partition(":")
    return post(envelope(f'<{method}><_this type="{kind}">{name}</_this>{inner}</{method}>', **options), cookie)


def bytes_over_tls(*parts, half_close=True):
    """Sends bytes as they are and returns whatever comes back until the end."""
    with socket.create_connection((HOST, PORT), timeout=30) as plain, UNVERIFIED.wrap_socket(plain) as secure:
        try:
            for part in parts:
                secure.sendall(part)
            if half_close:
                plain.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received = b""
        try:
            while chunk := secure.recv(1 << 16):
                received += chunk
        except (OSError, ssl.SSLError):
            pass
    return received


__all__ = [name for name in dir() if not name.startswith("_")]
