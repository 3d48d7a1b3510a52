//! What a URL below `/folder` means. Strict: one spelling per file, or it is refused.

use axum::http::Uri;

use crate::edge::rescue::Refusal;
use crate::wire::datastore_path::{DatastorePath, DatastorePathError};
use crate::wire::percent;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The datacenters there are.
    Datacenters,
    /// The datastores of the datacenter.
    Datastores,
    /// A file or directory.
    Object(DatastorePath),
}

impl Target {
    /// Reads path and query of a request. Without `dcPath` the only datacenter is meant.
    pub(super) fn of(uri: &Uri, datacenter: &str) -> Result<Target, Refusal> {
        let path = uri.path().strip_prefix("/folder").unwrap_or_default();
        let path = path.strip_prefix('/').unwrap_or(path);
        let query = uri.query().unwrap_or_default();
        let asked = parameter(query, "dcPath")?;
        // govc writes it as an inventory path, with a slash in front.
        let named = asked.as_deref().map(|name| name.strip_prefix('/').unwrap_or(name).trim_end_matches('/'));
        if let Some(name) = named.filter(|name| *name != datacenter) {
            return Err(Refusal::new(404, format!("there is no datacenter named {name:?}")));
        }
        match parameter(query, "dsName")? {
            Some(datastore) => match DatastorePath::from_url(&datastore, path) {
                Ok(path) => Ok(Target::Object(path)),
                Err(error) => Err(Refusal::new(400, error.to_string())),
            },
            None if !path.is_empty() => Err(Refusal::new(400, "the query does not say which datastore: dsName=")),
            None if asked.is_some() => Ok(Target::Datastores),
            None => Ok(Target::Datacenters),
        }
    }
}

/// A parameter of a query as forms encode it: `+` is a blank.
fn parameter(query: &str, wanted: &str) -> Result<Option<String>, Refusal> {
    let mut values = query.split('&').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (name == wanted).then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match percent::decode(&value.replace('+', " ")) {
            Some(value) => Ok(Some(value)),
            None => Err(Refusal::new(400, format!("{wanted}: {}", DatastorePathError::Escape))),
        },
        _ => Err(Refusal::new(400, format!("{wanted} is given twice"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<Target, u16> {
        Target::of(&uri.parse().unwrap(), "ha-datacenter").map_err(|refusal| refusal.status)
    }

    #[test]
    fn urls_name_what_they_seem_to_name() {
        let object = |text: &str| Ok(Target::Object(DatastorePath::parse(text).unwrap()));
        for (uri, target) in [
            ("/folder", Ok(Target::Datacenters)),
            ("/folder/", Ok(Target::Datacenters)),
            ("/folder?dcPath=ha-datacenter", Ok(Target::Datastores)),
            ("/folder/?dcPath=%2Fha-datacenter", Ok(Target::Datastores)),
            ("/folder?dsName=ds", object("[ds]")),
            ("/folder/vm/disk%201.vmdk?dcPath=%2fha-datacenter&dsName=my+store", object("[my store] vm/disk 1.vmdk")),
            ("/folder/a+b?dsName=my%20store", object("[my store] a+b")),
            ("/folder/vm/?dsName=ds&dcPath=ha-datacenter", object("[ds] vm")),
            ("/folder//vm/x?dsName=ds", object("[ds] vm/x")),
            ("/folder/x?other=1&dsName=ds&flag", object("[ds] x")),
            ("/folder/x?dcPath=elsewhere&dsName=ds", Err(404)),
            ("/folder/x?dcPath=ha-datacenter", Err(400)),
            ("/folder/x", Err(400)),
            ("/folder/x?dsName=", Err(400)),
            ("/folder/x?dsName=a&dsName=b", Err(400)),
            ("/folder/x?dsName=a%5Db", Err(400)),
            ("/folder/x?dsName=%ff", Err(400)),
            ("/folder/x?dcPath=%f&dsName=ds", Err(400)),
            ("/folder/../x?dsName=ds", Err(400)),
            ("/folder/a/../../x?dsName=ds", Err(400)),
            ("/folder/%2e%2e/x?dsName=ds", Err(400)),
            ("/folder/a%2fb?dsName=ds", Err(400)),
            ("/folder/a%00b?dsName=ds", Err(400)),
            ("/folder/a%0ab?dsName=ds", Err(400)),
            ("/folder/a//b?dsName=ds", Err(400)),
            ("/folder/./b?dsName=ds", Err(400)),
            ("/folder/%c3%28?dsName=ds", Err(400)),
            ("/folder/%?dsName=ds", Err(400)),
            (&format!("/folder/{}?dsName=ds", "n".repeat(256)), Err(400)),
            (&format!("/folder/{}?dsName=ds", "n/".repeat(600)), Err(400)),
        ] {
            assert_eq!(of(uri), target, "{uri}");
        }
    }
}
