//! One upload: from the body of a request to a durable, published object.
//!
//! Called by `edge::nfc` and `upstream` with a Grant. This file chooses the way, opens the target and ends the upload; the three
//! ways themselves are [`verbatim`], [`stream`] (streamOptimized into a raw disk) and [`raw`] (raw bytes into a raw disk).
//!
//! ```text
//!   check ─► reserve ─► open part ─► move ─► verify ─► sync ─► publish ─► settle ─► answer
//!               any failure: drain ─► remove part ─► settle(Failed | Fatal)
//!               client gone, resumable: sync ─► keep part ─► settle(Interrupted)
//! ```

mod beside;
mod checkpoint;
mod raw;
mod splice;
mod stream;
mod verbatim;

use checkpoint::Checkpoints;

use super::budget::Reservation;
use super::digest::Digests;
use super::dock::{Dock, storage};
use super::error::TransferError;
use super::pace::Pace;
use super::receipt::Receipt;
use super::way::{self, Trail, Way};
use super::{Buffer, Engine, Inlet};
use crate::disk::{Place, Space, Want};
use crate::lease::{Fault, Flow, Form, Grant, Outcome, Partial, Purpose};
use crate::limits::{BUFFER_BYTES, STREAM_SLACK_BYTES, ZERO_STEP_BYTES};
use crate::wire::nfc::Format;
use crate::wire::vmdk::looks_like_vmdk;

/// What the request says about its body.
#[derive(Debug, Clone, Default)]
pub struct Upload {
    /// Content-Length of this request, when it has one.
    pub length_bytes: Option<u64>,
    /// Format the client insists on with `?format=`; otherwise the first bytes decide.
    pub format: Option<Format>,
    /// Whether the Content-Type says streamOptimized VMDK.
    pub claims_vmdk: bool,
    /// Present when the client speaks the resumable upload protocol.
    pub resumable: Option<Resumable>,
}

/// The fields of a resumable upload (draft-ietf-httpbis-resumable-upload).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumable {
    /// Where this request's body belongs in the stream.
    pub offset_bytes: u64,
    /// Whether this request carries the rest of the stream.
    pub complete: bool,
    /// Length of the whole stream, when known.
    pub total_bytes: Option<u64>,
}

/// How an upload ended well.
#[derive(Debug)]
pub enum Landed {
    /// The whole stream is stored, durable and journaled.
    Whole(Receipt),
    /// A part of a resumable upload is stored, durable and journaled.
    Part(Partial),
}

/// One running upload, as its ways see it.
struct Run<'a, E: Engine> {
    dock: &'a Dock<E>,
    place: &'a Place,
    file: &'a E::File,
    lane: &'a Reservation,
    flow: &'a Flow,
    grant: &'a Grant,
    /// Where the body belongs in the stream; 0 unless an upload is resumed.
    start_bytes: u64,
    /// Size of the disk.
    disk_bytes: u64,
    /// Bytes after which the stream is too long.
    limit_bytes: u64,
    /// Bytes the stream must have to be whole, when that is known beforehand.
    exact_bytes: Option<u64>,
    /// Whether this request carries the rest of the stream.
    complete: bool,
    checkpoints: Checkpoints,
    /// How the target was to be opened.
    way: Way,
    /// How fast it may move.
    pace: Pace,
}

/// What a way has achieved. `end_bytes` holds also when `result` is an error, so that an interrupted upload can be kept.
struct Moved {
    end_bytes: u64,
    populated_bytes: u64,
    trail: Trail,
    /// Digests of the stream; absent when only a part of it has come.
    result: Result<Option<Digests>, TransferError>,
}

/// A buffer filled from an inlet, and why filling stopped early if it did.
struct Filled {
    buffer: Buffer,
    /// `Some(Ok(()))` when the body has ended whole.
    ended: Option<Result<(), TransferError>>,
}

/// Refuses what can be refused before the first byte of the body: call it before answering `100 Continue`.
///
/// # Errors
/// [`TransferError::TooLong`], [`TransferError::TooShort`], [`TransferError::Unsuitable`] or [`TransferError::WrongOffset`].
pub fn check(grant: &Grant, upload: &Upload) -> Result<(), TransferError> {
    let limit_bytes = limit(grant, upload.format);
    let start_bytes = upload.resumable.map_or(0, |part| part.offset_bytes);
    let claimed = upload.length_bytes.unwrap_or(0).checked_add(start_bytes);
    let total = upload.resumable.and_then(|part| part.total_bytes).unwrap_or(0);
    if claimed.is_none_or(|bytes| bytes.max(total) > limit_bytes) {
        return Err(TransferError::TooLong { limit_bytes });
    }
    let stored_bytes = grant.partial.as_ref().map_or(0, |partial| partial.offset_bytes);
    if (grant.purpose == Purpose::Resume || start_bytes > 0) && start_bytes != stored_bytes {
        return Err(TransferError::WrongOffset { given_bytes: start_bytes, stored_bytes });
    }
    let announced = grant.partial.as_ref().filter(|_| start_bytes > 0).and_then(|partial| partial.length_bytes);
    if let (Some(before), Some(now)) = (announced, upload.resumable.and_then(|part| part.total_bytes))
        && before != now
    {
        let reason = format!("the upload was announced with {before} bytes and now has {now}");
        return Err(TransferError::Unsuitable { reason });
    }
    let verbatim = grant.disk.target.form == Form::Verbatim;
    if verbatim && upload.format == Some(Format::Raw) {
        return Err(TransferError::Unsuitable {
            reason: "this disk is stored verbatim: the stream is kept as it is, ?format= does not apply".to_owned(),
        });
    }
    if upload.resumable.is_some_and(|part| !part.complete || part.offset_bytes > 0) && !can_resume(grant, upload) {
        return Err(TransferError::Unsuitable {
            reason: "a streamOptimized VMDK that is decoded into a raw disk cannot be sent in parts; send it whole, \
                     or send the raw bytes with ?format=raw"
                .to_owned(),
        });
    }
    Ok(())
}

/// Whether an interruption of this upload can be continued later: yes where the stored bytes are the stream's bytes.
pub fn can_resume(grant: &Grant, upload: &Upload) -> bool {
    grant.disk.target.form == Form::Verbatim || upload.format == Some(Format::Raw)
}

/// Moves one upload and settles its grant. When this returns `Ok`, the outcome is durable.
///
/// # Errors
/// Why the upload failed; the grant is settled and nothing half-written is left in either case.
pub async fn ingest<E: Engine, I: Inlet<E>>(
    dock: &Dock<E>,
    grant: Grant,
    upload: &Upload,
    inlet: &mut I,
) -> Result<Landed, TransferError> {
    let place = place_of(&grant);
    let tag = grant.lease.to_string();
    let result = attempt(dock, &grant, upload, &place, &tag, inlet).await;
    let result = match (grant.flow.is_cancelled(), result) {
        // What is stored and has its name is not undone by the same client's coming back on another connection; if the lease has
        // ended, settling says so.
        (true, Ok(landed)) => Ok(landed),
        // Whatever broke was most likely broken by the cut itself.
        (true, _) => Err(TransferError::Cut(grant.flow.reason().unwrap_or(Fault::RequestCanceled))),
        (false, result) => result,
    };
    let direction = dock.metrics.transfers.with_label_values(&["in", if result.is_ok() { "ok" } else { "failed" }]);
    direction.inc();
    match result {
        Ok(landed) => {
            let outcome = match &landed {
                Landed::Whole(receipt) => Outcome::Delivered(receipt.delivery()),
                Landed::Part(partial) => Outcome::Interrupted(partial.clone()),
            };
            grant.settle(outcome).await.map_err(TransferError::Cut)?;
            Ok(landed)
        }
        Err(error) => {
            if let Some(partial) = grant.partial.clone().filter(|_| error.is_ours()) {
                // Nothing is wrong with what was stored before; a later continuation cuts off what came since.
                let _ = grant.settle(Outcome::Interrupted(partial)).await;
                return Err(error);
            }
            let taken_over = grant.flow.reason() == Some(Fault::RequestCanceled);
            if taken_over && upload.resumable.is_some() && can_resume(&grant, upload) {
                // The client is back on another connection and goes on where the last checkpoint is.
                let _ = grant.settle(Outcome::GivenUp).await;
                return Err(error);
            }
            // What a lease has cut it removes itself, once that it has ended is journaled.
            if !grant.prepared.device && (taken_over || !grant.flow.is_cancelled()) {
                // A part that cannot be removed now is swept at the next start; the error that counts is the first.
                let removed = dock.names(&place, move |space, place| space.remove_part(place, &tag)).await;
                removed.unwrap_or_else(|second| tracing::warn!(%place, %second, "part file not removed"));
            }
            // The refusal of a failure changes nothing for the client.
            let _ = grant.settle(error.outcome()).await;
            Err(error)
        }
    }
}

async fn attempt<E: Engine, I: Inlet<E>>(
    dock: &Dock<E>,
    grant: &Grant,
    upload: &Upload,
    place: &Place,
    tag: &str,
    inlet: &mut I,
) -> Result<Landed, TransferError> {
    check(grant, upload)?;
    let lane = {
        let _ours = grant.flow.local_work();
        tokio::select! {
            lane = dock.budget.reserve() => lane?,
            // Whoever waits for memory while the lease ends must not create anything afterwards; what is stored stays.
            () = grant.flow.cancelled() => return match &grant.partial {
                Some(partial) => Ok(Landed::Part(partial.clone())),
                None => Err(TransferError::Disconnected { offset_bytes: 0 }),
            },
        }
    };
    let keep = upload.resumable.is_some() && can_resume(grant, upload);
    let start_bytes = upload.resumable.map_or(0, |part| part.offset_bytes);
    let way = match grant.disk.target.form {
        Form::Raw => way::disk(grant.capacity_bytes),
        Form::Verbatim => way::store(upload.length_bytes.map(|length| length.saturating_add(start_bytes))),
    };
    let file = open_target(dock, grant, place, tag, start_bytes, way).await?;
    let run = Run {
        dock,
        place,
        file: &file,
        lane: &lane,
        flow: &grant.flow,
        grant,
        start_bytes,
        disk_bytes: disk_bytes(grant),
        limit_bytes: limit(grant, upload.format),
        exact_bytes: exact(grant, upload),
        complete: upload.resumable.is_none_or(|part| part.complete),
        checkpoints: Checkpoints::new(keep, start_bytes, announced(grant, upload)),
        way,
        pace: dock.pace.stream(grant),
    };
    let moved = match (grant.disk.target.form, upload.format) {
        (Form::Verbatim, _) => verbatim::receive(&run, upload, inlet).await,
        (Form::Raw, Some(Format::Raw)) => raw::receive(&run, None, inlet).await,
        (Form::Raw, Some(Format::Vmdk)) => stream::receive(&run, None, inlet).await,
        (Form::Raw, None) => {
            let first = fill(&run, inlet, BUFFER_BYTES).await;
            if upload.claims_vmdk || looks_like_vmdk(&first.buffer) {
                stream::receive(&run, Some(first), inlet).await
            } else {
                raw::receive(&run, Some(first), inlet).await
            }
        }
    };
    conclude(&run, tag, moved, keep, upload).await
}

/// Verified, synced, published: after this the object is durable under its final name.
async fn conclude<E: Engine>(
    run: &Run<'_, E>,
    tag: &str,
    moved: Moved,
    keep: bool,
    upload: &Upload,
) -> Result<Landed, TransferError> {
    let _ours = run.flow.local_work();
    run.flow.reach_end();
    let interrupted = matches!(&moved.result, Err(error) if error.is_interruption());
    let taken_over = run.flow.reason() == Some(Fault::RequestCanceled);
    let may_go_on = !run.flow.is_cancelled() || taken_over;
    if keep && may_go_on && (interrupted || matches!(moved.result, Ok(None))) {
        run.dock.engine.sync(run.file).await.map_err(|error| storage(run.place, error))?;
        let length_bytes = announced(run.grant, upload);
        return Ok(Landed::Part(Partial { offset_bytes: moved.end_bytes, length_bytes }));
    }
    let Some(digests) = moved.result? else {
        return Err(TransferError::Disconnected { offset_bytes: moved.end_bytes });
    };
    run.dock.engine.sync(run.file).await.map_err(|error| storage(run.place, error))?;
    if run.flow.is_cancelled() {
        let offset_bytes = moved.end_bytes;
        return match keep && taken_over {
            // Whole, but whoever has come back has the word: there is nothing left to send.
            true => Ok(Landed::Part(Partial { offset_bytes, length_bytes: announced(run.grant, upload) })),
            false => Err(TransferError::Disconnected { offset_bytes }),
        };
    }
    let receipt = Receipt {
        stream_bytes: moved.end_bytes,
        checksum_type: run.grant.checksum_type.reported(),
        digests,
        capacity_bytes: run.disk_bytes.max(if run.grant.disk.disk { 0 } else { moved.end_bytes }),
        populated_bytes: populated(run, moved.populated_bytes)?,
        trail: moved.trail,
    };
    if !run.grant.prepared.device {
        run.grant.publishing(receipt.delivery()).await.map_err(TransferError::Cut)?;
        let tag = tag.to_owned();
        run.dock.names(run.place, move |space, place| space.publish(place, &tag)).await?;
    }
    Ok(Landed::Whole(receipt))
}

/// Bytes of the disk that hold data. Of a raw disk that came in parts the file system knows what the earlier ones stored.
fn populated<E: Engine>(run: &Run<'_, E>, counted_bytes: u64) -> Result<u64, TransferError> {
    if run.start_bytes == 0 || run.grant.disk.target.form == Form::Verbatim || run.grant.prepared.device {
        return Ok(counted_bytes);
    }
    let (mut from_bytes, mut populated_bytes) = (0, 0);
    let next = |from| run.dock.engine.next_data(run.file, from, run.disk_bytes);
    while let Some(data) = next(from_bytes).map_err(|error| storage(run.place, error))? {
        populated_bytes += data.end - data.start;
        from_bytes = data.end;
    }
    Ok(populated_bytes)
}

/// The target, with nothing in it behind `start_bytes`: a stream may leave out zeros, and may turn out shorter than an earlier
/// attempt.
async fn open_target<E: Engine>(
    dock: &Dock<E>,
    grant: &Grant,
    place: &Place,
    tag: &str,
    start_bytes: u64,
    way: Way,
) -> Result<E::File, TransferError> {
    let _ours = grant.flow.local_work();
    let (raw, direct) = (grant.disk.target.form == Form::Raw, way.direct);
    let owned_tag = tag.to_owned();
    let opened = dock
        .names(place, move |space, place| match start_bytes > 0 {
            true => space.open_part(place, &owned_tag, Want { direct }),
            false => {
                space.make_parents(place)?;
                space.create_part(place, &owned_tag, Want { direct })
            }
        })
        .await;
    let opened = match opened {
        // What was stored has its final name already, or is gone: the stream has to be sent from the beginning.
        Err(TransferError::Storage { error, .. }) if start_bytes > 0 && error.is_not_found() => {
            return Err(TransferError::WrongOffset { given_bytes: start_bytes, stored_bytes: 0 });
        }
        opened => opened?,
    };
    let at = |error| storage(place, error);
    let file = dock.engine.adopt(opened).map_err(at)?;
    if grant.prepared.device {
        zero_device(dock, grant, place, &file, start_bytes).await?;
        return Ok(file);
    }
    if start_bytes > 0 {
        // Only somebody else can have shortened it; extending it would turn the loss into zeros.
        let mut last = dock.engine.pool().take().await;
        last.set_len(1);
        if dock.engine.read_at(&file, last, start_bytes - 1).await.1.map_err(at)? == 0 {
            return Err(TransferError::WrongOffset { given_bytes: start_bytes, stored_bytes: 0 });
        }
        dock.engine.set_length(&file, start_bytes).await.map_err(at)?;
    }
    if raw {
        dock.engine.set_length(&file, grant.capacity_bytes).await.map_err(at)?;
    }
    Ok(file)
}

/// A device shows nothing of what it held before: what the stream leaves out reads as zeros.
async fn zero_device<E: Engine>(
    dock: &Dock<E>,
    grant: &Grant,
    place: &Place,
    file: &E::File,
    start_bytes: u64,
) -> Result<(), TransferError> {
    let mut offset_bytes = start_bytes;
    while offset_bytes < grant.prepared.capacity_bytes {
        if grant.flow.is_cancelled() {
            // Whoever moves the stream sees it too, and knows what is to be kept.
            return Ok(());
        }
        let step = ZERO_STEP_BYTES.min(grant.prepared.capacity_bytes - offset_bytes);
        dock.engine.zero(file, offset_bytes, step).await.map_err(|error| storage(place, error))?;
        offset_bytes += step;
        grant.flow.step();
    }
    Ok(())
}

/// Fills a buffer from the inlet, counting what arrives. Stops at the end of the body, at an error, or when `capacity` is reached.
async fn fill<E: Engine, I: Inlet<E>>(run: &Run<'_, E>, inlet: &mut I, capacity: usize) -> Filled {
    let mut buffer = run.lane.take().await;
    let mut filled = 0;
    let mut ended = None;
    while filled < capacity && ended.is_none() {
        let allowed = run.pace.acquire((capacity - filled) as u64).await as usize;
        buffer.set_len(filled + allowed);
        let (back, result) = inlet.read(buffer, filled).await;
        buffer = back;
        run.pace.give_back((allowed - result.as_ref().map_or(0, |count| *count)) as u64);
        match result {
            Ok(0) => ended = Some(Ok(())),
            Ok(count) => {
                filled += count;
                run.flow.add(count as u64);
                run.dock.metrics.in_copied_bytes.inc_by(count as u64);
            }
            Err(error) => ended = Some(Err(error)),
        }
    }
    buffer.set_len(filled);
    Filled { buffer, ended }
}

/// Refuses a stream that is getting too long.
fn within<E: Engine>(run: &Run<'_, E>, end_bytes: u64) -> Result<(), TransferError> {
    match end_bytes > run.limit_bytes {
        true => Err(TransferError::TooLong { limit_bytes: run.limit_bytes }),
        false => Ok(()),
    }
}

fn place_of(grant: &Grant) -> Place {
    let target = &grant.disk.target;
    Place { datastore: target.datastore.clone(), path: target.path.clone() }
}

/// Most bytes the stream may have. A VMDK stream of a full disk is a little longer than the disk: grain headers, padding, tables.
fn limit(grant: &Grant, format: Option<Format>) -> u64 {
    let disk = grant.disk.disk;
    match (grant.disk.target.form, format) {
        (Form::Verbatim, _) if !disk => grant.disk.capacity_bytes.unwrap_or(u64::MAX),
        (Form::Verbatim, _) if grant.disk.capacity_bytes.is_none() => u64::MAX,
        (Form::Raw, Some(Format::Raw)) => disk_bytes(grant),
        _ => disk_bytes(grant).saturating_add(disk_bytes(grant) / 4).saturating_add(STREAM_SLACK_BYTES),
    }
}

/// Size of the disk. A device may be larger: it is zeroed whole, but written only so far.
fn disk_bytes(grant: &Grant) -> u64 {
    grant.disk.capacity_bytes.filter(|_| grant.prepared.device).unwrap_or(grant.capacity_bytes)
}

/// The length a stream must have, where it can be known: the total the client announced, or the size the lease was given.
fn exact(grant: &Grant, upload: &Upload) -> Option<u64> {
    let announced = announced(grant, upload);
    let verbatim_file = grant.disk.target.form == Form::Verbatim && !grant.disk.disk;
    if verbatim_file { grant.disk.capacity_bytes.or(announced) } else { announced }
}

/// Length of the whole stream, as this request or an earlier one of the same upload has announced it.
fn announced(grant: &Grant, upload: &Upload) -> Option<u64> {
    let part = upload.resumable?;
    let before = grant.partial.as_ref().filter(|_| part.offset_bytes > 0).and_then(|partial| partial.length_bytes);
    part.total_bytes.or(before)
}
