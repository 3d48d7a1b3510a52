//! Documents beside the API: which versions there are, and where it is.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Desk;
use crate::wire::soap::VIM25;

/// `vimServiceVersions.xml`: pyvmomi takes the newest version of its own list that it finds here.
pub async fn versions(State(desk): State<Arc<Desk>>) -> Response {
    let version = desk.settings.version;
    let mut document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<namespaces version=\"1.0\">\n  <namespace>\n    <name>{VIM25}</name>\n    \
         <version>{version}</version>\n    <priorVersions>\n"
    );
    for prior in version.prior() {
        // Writing to a String cannot fail.
        let _ = writeln!(document, "      <version>{prior}</version>");
    }
    document.push_str("    </priorVersions>\n  </namespace>\n</namespaces>\n");
    xml(document)
}

/// `vimService.wsdl`: names the service and where it is; the types are in the next document.
pub async fn service() -> Response {
    xml(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<definitions xmlns=\"http://schemas.xmlsoap.org/wsdl/\" \
         xmlns:soap=\"http://schemas.xmlsoap.org/wsdl/soap/\" xmlns:interface=\"{VIM25}\" targetNamespace=\"{VIM25}Service\">\n  \
         <import location=\"vim.wsdl\" namespace=\"{VIM25}\"/>\n  <service name=\"VimService\">\n    \
         <port binding=\"interface:VimBinding\" name=\"VimPort\">\n      <soap:address location=\"/sdk\"/>\n    </port>\n  \
         </service>\n</definitions>\n"
    ))
}

/// `vim.wsdl`: clients that generate code bring the types of their own SDK; this one only names the binding.
pub async fn types() -> Response {
    xml(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<definitions xmlns=\"http://schemas.xmlsoap.org/wsdl/\" \
         xmlns:soap=\"http://schemas.xmlsoap.org/wsdl/soap/\" targetNamespace=\"{VIM25}\">\n  <portType name=\"VimPortType\"/>\n  \
         <binding name=\"VimBinding\" type=\"VimPortType\">\n    <soap:binding style=\"document\" \
         transport=\"http://schemas.xmlsoap.org/soap/http\"/>\n  </binding>\n</definitions>\n"
    ))
}

/// Somebody looks at `/sdk` with a browser.
pub async fn landing() -> Response {
    "diskferry speaks the vSphere API (SOAP, POST) here; set GOVC_URL to this address.\n".into_response()
}

fn xml(document: String) -> Response {
    ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], document).into_response()
}
