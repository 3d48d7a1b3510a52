//! `HttpNfcLease`: its methods, mapped one to one to the lease driver.

use super::{Visit, expect};
use crate::edge::rescue;
use crate::edge::soap::describe::lease::{manifest_entry, probe_result};
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::world::task_ref;
use crate::lease::{Fault, HttpHeader, LeaseId, SourceFile};
use crate::wire::soap::{Arguments, BadArgument, Call, Value};

/// Answers a method of a lease.
pub async fn answer(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["HttpNfcLease"])?;
    let leases = &visit.desk.leases;
    let id = LeaseId::from(call.this.id.as_str());
    let arguments = call.arguments();
    own(visit, call, &id).await?;
    match call.method.as_str() {
        "HttpNfcLeaseProgress" => {
            let percent = arguments.int("percent")?.ok_or_else(|| arguments.bad("percent", "is required"))?;
            leases.progress(&id, percent).await?;
        }
        "HttpNfcLeaseComplete" => {
            leases.complete(&id).await?;
            // What the client does next may need the machine as it is now.
            visit.desk.settle_imports().await;
        }
        "HttpNfcLeaseAbort" => {
            let fault = arguments.object("fault").map(|fault| rescue::soap::from_client(&fault));
            leases.abort(&id, fault).await?;
            visit.desk.settle_imports().await;
        }
        "HttpNfcLeaseGetManifest" => {
            let manifest = leases.manifest(&id).await?;
            return Ok(Some(Value::objects("HttpNfcLeaseManifestEntry", manifest.iter().map(manifest_entry))));
        }
        "HttpNfcLeaseSetManifestChecksumType" => {
            let pairs = arguments.objects("deviceUrlsToChecksumTypes");
            let pairs: Result<Vec<_>, BadArgument> = pairs.iter().map(key_value).collect();
            leases.set_checksum_types(&id, pairs?).await?;
        }
        "HttpNfcLeasePullFromUrls_Task" => {
            let files = files(&arguments)?;
            let task = leases.pull_from_urls(&id, files).await?;
            return Ok(Some(task_ref(&task).into()));
        }
        "HttpNfcLeaseProbeUrls" => {
            let results = leases.probe_urls(&id, files(&arguments)?, arguments.int("timeout")?).await?;
            return Ok(Some(Value::objects("HttpNfcLeaseProbeResult", results.iter().map(probe_result))));
        }
        _ => return Err(super::unknown(call)),
    }
    Ok(None)
}

/// A lease is its owner's: to others it does not exist. Renewals come ten times a second and wait for nothing, so this is asked once.
async fn own(visit: &Visit, call: &Call, id: &LeaseId) -> Result<(), Refusal> {
    let session = visit.session(call)?;
    if session.knows_own(id) {
        return Ok(());
    }
    let missing = |_| Refusal::no_such(&call.this);
    let lease = visit.desk.leases.get(id).await.map_err(|fault| match fault {
        Fault::ManagedObjectNotFound { .. } => missing(()),
        other => other.into(),
    })?;
    match session.owns(lease.owner.as_deref()) {
        true => {
            session.remember_own(id);
            Ok(())
        }
        false => Err(missing(())),
    }
}

fn key_value(pair: &Arguments<'_>) -> Result<(String, String), BadArgument> {
    Ok((pair.needed_text("key")?.to_owned(), pair.needed_text("value")?.to_owned()))
}

fn files(arguments: &Arguments<'_>) -> Result<Vec<SourceFile>, BadArgument> {
    arguments.objects("files").iter().map(file).collect()
}

fn file(file: &Arguments<'_>) -> Result<SourceFile, BadArgument> {
    let text = |name| file.text(name).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let headers = file.objects("httpHeaders");
    let headers: Result<Vec<_>, BadArgument> =
        headers.iter().map(|header| key_value(header).map(|(key, value)| HttpHeader { key, value })).collect();
    let size = file.long("size")?;
    let size = size.map(|size| u64::try_from(size).map_err(|_| file.bad("size", "is negative"))).transpose()?;
    Ok(SourceFile {
        target_device_id: file.needed_text("targetDeviceId")?.to_owned(),
        url: file.needed_text("url")?.trim().to_owned(),
        member_name: text("memberName"),
        create: file.flag("create")?.unwrap_or(false),
        ssl_thumbprint: text("sslThumbprint"),
        ssl_certificate: text("sslCertificate"),
        http_headers: headers?,
        size,
    })
}
