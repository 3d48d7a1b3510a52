//! PUT, POST and PATCH on a device URL: one upload, whole or resumable.
//!
//! Called by [`super::connection`]. Real clients send any Content-Type or none, POST where others PUT, and expect exactly 200 or
//! 201 (PROTOCOL facts: govc aborts on 204 and 307). A resumable upload (draft-ietf-httpbis-resumable-upload) uses the device URL
//! itself as its upload resource: HEAD asks for the offset, PATCH continues.

use std::sync::Arc;

use futures_util::future::{Either, select};

use super::body::RequestBody;
use super::channel::Channel;
use super::connection::{After, Request, answer_with, refuse, refuse_body, refuse_with, rendered};
use crate::edge::rescue::{self, Refusal};
use crate::lease::{Fault, Flow, Grant, GrantRequest, Outcome, Partial, Purpose};
use crate::transfer::ingest::{self, Landed, Resumable, Upload};
use crate::transfer::{Engine, TransferError};
use crate::wire::http::{
    Answer, CONTINUE, Framing, Head, INTEROP_VERSION, Method, PROBLEM_MISMATCHING_OFFSET, UploadFields,
};

pub(super) async fn serve<E: Engine>(request: Request<'_, E>, channel: &mut Channel<E>) -> After {
    let Request { desk, head, path } = &request;
    let upload = match describe(&request) {
        Ok(upload) => upload,
        Err(refusal) => return refuse_body(desk, channel, head, &refusal).await,
    };
    // A client that continues may cut its own old connection; one that begins anew has to wait for it.
    let purpose = if head.method() == &Method::Patch { Purpose::Resume } else { Purpose::Upload };
    let asked = GrantRequest { ticket: path.ticket.reveal().to_owned(), disk: path.disk.clone(), purpose };
    let grant = match desk.leases.grant(asked).await {
        Ok(grant) => grant,
        Err(denied) => return refuse_body(desk, channel, head, &rescue::denied(&denied)).await,
    };
    if let Err(error) = ingest::check(&grant, &upload) {
        // Nothing was touched: what is stored of an interrupted upload can still be continued.
        if let Some(partial) = grant.partial.clone() {
            // A lease that has died meanwhile changes nothing for this answer.
            let _ = grant.settle(Outcome::Interrupted(partial)).await;
        }
        return refuse_upload(&request, channel, &error).await;
    }
    if begin(&grant, &upload).await.is_err() || announce(&request, channel, &grant, &upload).await.is_err() {
        return After::Close;
    }
    receive(&request, channel, grant, &upload).await
}

async fn receive<E: Engine>(
    request: &Request<'_, E>,
    channel: &mut Channel<E>,
    grant: Grant,
    upload: &Upload,
) -> After {
    let desk = request.desk;
    let lease = grant.lease.clone();
    let disk = grant.disk.name.clone();
    let flow = grant.flow.clone();
    let (engine, socket) = (channel.engine.clone(), channel.socket.clone());
    let mut body = RequestBody::new(channel, request.head.framing());
    let moving = ingest::ingest(&desk.dock, grant, upload, &mut body);
    let result = until_cut(&engine, &socket, flow, moving).await;
    match result {
        Ok(landed) => {
            match &landed {
                Landed::Whole(receipt) => {
                    tracing::info!(%lease, disk, %receipt, "upload ended");
                    tracing::debug!(target: "explain", %lease, disk, way = %receipt.trail, "the way of an upload");
                }
                Landed::Part(partial) => {
                    tracing::info!(%lease, disk, stored_bytes = partial.offset_bytes, "part of an upload stored, can be continued");
                }
            }
            let keep = body.is_done() && request.head.keep_alive() && !request.head.must_close();
            let (status, answer) = success(request, &landed, keep);
            match answer_with(desk, channel, request.head.method().as_str(), status, answer).await {
                true if keep => After::Keep,
                _ => After::Close,
            }
        }
        Err(error) => {
            tracing::warn!(%lease, disk, %error, "upload failed");
            match error {
                // The connection is cut already.
                TransferError::Cut(_) => After::Close,
                _ => refuse_upload(request, channel, &error).await,
            }
        }
    }
}

/// Awaits a transfer; when the lease cuts it, resets the connection so that pending operations end and its client knows at once, and
/// awaits it still: what was started must be drained.
pub(super) async fn until_cut<E: Engine, T>(
    engine: &E,
    socket: &E::Socket,
    flow: Arc<Flow>,
    transfer: impl Future<Output = T>,
) -> T {
    let transfer = std::pin::pin!(transfer);
    let cut = std::pin::pin!(flow.cancelled());
    match select(cut, transfer).await {
        Either::Left(((), transfer)) => {
            engine.cut(socket);
            transfer.await
        }
        Either::Right((result, _)) => result,
    }
}

fn describe<E: Engine>(request: &Request<'_, E>) -> Result<Upload, Refusal> {
    let head = request.head;
    let length_bytes = match head.framing() {
        Framing::Length(length_bytes) => Some(length_bytes),
        Framing::Chunked => None,
        Framing::None => {
            return Err(Refusal::new(411, "an upload needs Content-Length or Transfer-Encoding: chunked"));
        }
    };
    if head.field("content-range").is_some() {
        // A server that ignored it would store a part as if it were the whole.
        return Err(Refusal::new(
            400,
            "Content-Range on an upload is not supported; use the resumable upload protocol",
        ));
    }
    if head.field("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Refusal::new(415, "Content-Encoding is not supported: send the disk as it is"));
    }
    let claims_vmdk = head.field("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("streamvmdk"));
    Ok(Upload { length_bytes, format: request.path.format, claims_vmdk, resumable: resumable(head, length_bytes)? })
}

/// The resumable fields. PATCH must name its offset; a PUT or POST takes part when it carries `Upload-Complete`.
fn resumable(head: &Head, length_bytes: Option<u64>) -> Result<Option<Resumable>, Refusal> {
    let fields = UploadFields::parse(head).map_err(|reason| Refusal::new(400, reason.to_string()))?;
    let append = head.method() == &Method::Patch;
    let Some(complete) = fields.complete else {
        return match append {
            true => Err(Refusal::new(400, "PATCH needs Upload-Complete and Upload-Offset")),
            false => Ok(None),
        };
    };
    let offset_bytes = match (append, fields.offset_bytes) {
        (true, Some(offset_bytes)) => offset_bytes,
        (true, None) => return Err(Refusal::new(400, "PATCH needs Upload-Offset")),
        (false, Some(1..)) => {
            return Err(Refusal::new(400, "a new upload begins at offset 0; continue one with PATCH"));
        }
        (false, _) => 0,
    };
    let from_length = length_bytes.filter(|_| complete).and_then(|length| offset_bytes.checked_add(length));
    if let (Some(said), Some(counted)) = (fields.length_bytes, from_length)
        && said != counted
    {
        return Err(Refusal::new(
            400,
            format!("Upload-Length is {said} but this request ends the upload at {counted}"),
        ));
    }
    Ok(Some(Resumable { offset_bytes, complete, total_bytes: fields.length_bytes.or(from_length) }))
}

/// From the moment a client is told that it can continue, questions about the offset are about this upload, not about an
/// earlier one of the same disk: also after a crash.
async fn begin(grant: &Grant, upload: &Upload) -> Result<(), Fault> {
    match upload.resumable {
        Some(Resumable { offset_bytes: 0, total_bytes, .. }) if ingest::can_resume(grant, upload) => {
            grant.checkpoint(Partial { offset_bytes: 0, length_bytes: total_bytes }).await
        }
        _ => Ok(()),
    }
}

/// Interim responses: where an interrupted upload can be continued, and that the body may come.
async fn announce<E: Engine>(
    request: &Request<'_, E>,
    channel: &mut Channel<E>,
    grant: &Grant,
    upload: &Upload,
) -> Result<(), crate::transfer::DiskError> {
    let head = request.head;
    // Interim responses go only to clients that speak the same draft.
    let speaks = UploadFields::parse(head).is_ok_and(|fields| fields.interop_version == Some(INTEROP_VERSION));
    if upload.resumable.is_some() && speaks && ingest::can_resume(grant, upload) {
        let interim =
            Answer::new(104).field("Upload-Draft-Interop-Version", INTEROP_VERSION).field("Location", &request.path);
        channel.say(&rendered(&interim), false).await?;
    }
    if head.expects_continue() {
        channel.say(CONTINUE, false).await?;
    }
    Ok(())
}

async fn refuse_upload<E: Engine>(request: &Request<'_, E>, channel: &mut Channel<E>, error: &TransferError) -> After {
    if let TransferError::WrongOffset { stored_bytes, .. } = error {
        // The client learns where to go on (problem type of the draft).
        let body = format!(
            "{{\"type\":\"{PROBLEM_MISMATCHING_OFFSET}\",\
             \"title\":\"offset from request does not match offset of resource\",\"expected-offset\":{stored_bytes}}}\n"
        );
        let answer = Answer::new(409)
            .field("Content-Type", "application/problem+json")
            .field("Content-Length", body.len())
            .field("Upload-Offset", stored_bytes)
            .field("Upload-Complete", "?0")
            .field("Connection", "close");
        let mut bytes = rendered(&answer);
        bytes.extend_from_slice(body.as_bytes());
        return refuse_with(request.desk, channel, request.head.method().as_str(), 409, bytes).await;
    }
    refuse(request.desk, channel, request.head.method().as_str(), &rescue::transfer(error)).await
}

fn success<E: Engine>(request: &Request<'_, E>, landed: &Landed, keep: bool) -> (u16, Vec<u8>) {
    // POST is answered 200 as ESXi does, PUT 201; clients accept both.
    let status = if request.head.method() == &Method::Post { 200 } else { 201 };
    let connection = if keep { "keep-alive" } else { "close" };
    let resumable = request.head.field("upload-complete").is_some();
    let mut answer = Answer::new(status).field("Content-Length", "0").field("Connection", connection);
    match landed {
        Landed::Whole(receipt) => {
            let checksum = &receipt.digests.checksum;
            if !checksum.is_empty() {
                let digest = format!("{:?} {checksum}", receipt.checksum_type).to_ascii_lowercase();
                answer = answer.field("X-Diskferry-Digest", digest);
            }
            if resumable {
                answer = answer
                    .field("Upload-Complete", "?1")
                    .field("Upload-Offset", receipt.stream_bytes)
                    .field("Location", &request.path);
            }
        }
        Landed::Part(partial) => {
            answer = answer
                .field("Upload-Complete", "?0")
                .field("Upload-Offset", partial.offset_bytes)
                .field("Location", &request.path);
        }
    }
    (status, rendered(&answer))
}
