//! GET and HEAD on a device URL.
//!
//! Called by [`super::connection`]. Stored bytes are sent with their length, a strong ETag and ranges; a raw disk goes out as a
//! streamOptimized VMDK made on the fly, chunked, because its length is not known before it is sent. HEAD on an import's device
//! answers the offset of a resumable upload. Bodies are never gzipped: manifests and byte counts are about the raw stream.

use std::ops::Range;

use super::body::ResponseBody;
use super::channel::Channel;
use super::connection::{After, Request, answer_with, refuse_body, rendered};
use super::upload::until_cut;
use crate::edge::rescue::{self, Refusal};
use crate::lease::{Grant, GrantRequest, Kind, Purpose};
use crate::transfer::Engine;
use crate::transfer::egress::{self, Body, Plan};
use crate::wire::http::{
    Answer, Framing, Method, Selection, Version, content_range, content_range_unsatisfied, select,
};

/// What the response head promises.
struct Promise {
    status: u16,
    part: Option<Range<u64>>,
    chunked: bool,
    keep: bool,
    bytes: Vec<u8>,
}

pub(super) async fn serve<E: Engine>(request: Request<'_, E>, channel: &mut Channel<E>) -> After {
    let Request { desk, head, path } = &request;
    if !matches!(head.framing(), Framing::None | Framing::Length(0)) {
        return refuse_body(desk, channel, head, &Refusal::new(400, "GET and HEAD take no body")).await;
    }
    let only_head = head.method() == &Method::Head;
    let purpose = if only_head { Purpose::Inspect } else { Purpose::Download };
    let asked = GrantRequest { ticket: path.ticket.reveal().to_owned(), disk: path.disk.clone(), purpose };
    let grant = match desk.leases.grant(asked).await {
        Ok(grant) => grant,
        Err(denied) => return refuse_body(desk, channel, head, &rescue::denied(&denied)).await,
    };
    if grant.kind == Kind::Import {
        return offset(&request, channel, &grant).await;
    }
    let plan = match egress::plan(&desk.dock, &grant, path.format, channel.direct().is_some()).await {
        Ok(plan) => plan,
        Err(error) => {
            tracing::warn!(lease = %grant.lease, disk = grant.disk.name, %error, "download refused");
            return refuse_body(desk, channel, head, &rescue::transfer(&error)).await;
        }
    };
    if matches!(plan.body(), Body::Stream { .. }) && head.version() == Version::Http10 {
        // Without chunks the end of the connection would be the end of the body, and a broken one would look whole.
        let refusal = Refusal::new(505, "a disk made into a stream on the fly needs HTTP/1.1; or ask for ?format=raw");
        return refuse_body(desk, channel, head, &refusal).await;
    }
    let promise = match promise(&request, &plan) {
        Ok(promise) => promise,
        Err(answer) => {
            return said(answer_with(desk, channel, head.method().as_str(), 416, answer).await, true);
        }
    };
    if !answer_with(desk, channel, head.method().as_str(), promise.status, promise.bytes.clone()).await {
        return After::Close;
    }
    if only_head {
        return said(true, promise.keep);
    }
    send(&request, channel, grant, plan, promise).await
}

async fn send<E: Engine>(
    request: &Request<'_, E>,
    channel: &mut Channel<E>,
    grant: Grant,
    plan: Plan<E>,
    promise: Promise,
) -> After {
    let desk = request.desk;
    let lease = grant.lease.clone();
    let disk = grant.disk.name.clone();
    let flow = grant.flow.clone();
    let (engine, socket) = (channel.engine.clone(), channel.socket.clone());
    let mut body = ResponseBody::new(channel, promise.chunked);
    let moving = egress::egress(&desk.dock, grant, plan, promise.part, &mut body);
    let result = until_cut(&engine, &socket, flow, moving).await;
    let result = match result {
        // Only a body that is whole gets its end: a client must be able to tell a truncated one.
        Ok(receipt) => body.finish().await.map(|()| receipt),
        Err(error) => Err(error),
    };
    match result {
        Ok(receipt) => {
            tracing::info!(%lease, disk, %receipt, "download ended");
            tracing::debug!(target: "explain", %lease, disk, way = %receipt.trail, "the way of a download");
            said(true, promise.keep)
        }
        Err(error) => {
            tracing::warn!(%lease, disk, %error, "download failed");
            After::Close
        }
    }
}

/// The response head, or the answer 416.
fn promise<E: Engine>(request: &Request<'_, E>, plan: &Plan<E>) -> Result<Promise, Vec<u8>> {
    let head = request.head;
    let keep = head.keep_alive() && !head.must_close();
    let mut answer = Answer::new(200);
    let mut promise = Promise { status: 200, part: None, chunked: false, keep, bytes: Vec::new() };
    match plan.body() {
        Body::Stream { .. } => {
            promise.chunked = true;
            answer = answer.field("Accept-Ranges", "none").field("Transfer-Encoding", "chunked");
        }
        Body::Stored { length_bytes } => {
            let etag = plan.etag.as_deref();
            let mut sent_bytes = length_bytes;
            match select(head.field("range"), head.field("if-range"), etag, length_bytes) {
                Selection::Whole => {}
                Selection::Part(part) => {
                    answer = Answer::new(206).field("Content-Range", content_range(&part, length_bytes));
                    sent_bytes = part.end - part.start;
                    promise.status = 206;
                    promise.part = Some(part);
                }
                Selection::Unsatisfiable => {
                    let answer = Answer::new(416)
                        .field("Content-Range", content_range_unsatisfied(length_bytes))
                        .field("Content-Length", 0);
                    return Err(rendered(&answer));
                }
            }
            answer = answer.field("Accept-Ranges", "bytes").field("Content-Length", sent_bytes);
            if let Some(etag) = etag {
                answer = answer.field("ETag", etag);
            }
        }
    }
    answer = answer.field("Content-Type", plan.media_type).field("Cache-Control", "no-store");
    answer = answer.field("Connection", if promise.keep { "keep-alive" } else { "close" });
    promise.bytes = rendered(&answer);
    Ok(promise)
}

/// The upload resource's state, for a client that wants to continue.
async fn offset<E: Engine>(request: &Request<'_, E>, channel: &mut Channel<E>, grant: &Grant) -> After {
    let keep = request.head.keep_alive() && !request.head.must_close();
    let (complete, offset_bytes, length_bytes) = match (&grant.partial, &grant.delivered) {
        (Some(partial), _) => ("?0", partial.offset_bytes, partial.length_bytes),
        (None, Some(delivery)) => ("?1", delivery.stream_bytes, Some(delivery.stream_bytes)),
        (None, None) => ("?0", 0, None),
    };
    let mut answer = Answer::new(204)
        .field("Upload-Complete", complete)
        .field("Upload-Offset", offset_bytes)
        .field("Cache-Control", "no-store")
        .field("Connection", if keep { "keep-alive" } else { "close" });
    if let Some(length_bytes) = length_bytes {
        answer = answer.field("Upload-Length", length_bytes);
    }
    said(answer_with(request.desk, channel, request.head.method().as_str(), 204, rendered(&answer)).await, keep)
}

fn said(sent: bool, keep: bool) -> After {
    if sent && keep { After::Keep } else { After::Close }
}
