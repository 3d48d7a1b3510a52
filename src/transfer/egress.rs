//! One download: from a stored object to the body of a response.
//!
//! Called by `edge::nfc` with a Grant, in two steps: [`plan`] opens the object and says what the response head must say,
//! [`egress`] sends the body and settles the grant. A whole download is accounted with length and digest; a part is not.

mod stream;
mod verbatim;

use std::ops::Range;

use super::digest::Digests;
use super::dock::{Dock, open_source, storage};
use super::error::TransferError;
use super::pace::Pace;
use super::receipt::Receipt;
use super::way::{self, Trail, Way};
use super::{Engine, Outlet};
use crate::disk::{Inspection, Place, Space};
use crate::lease::{ChecksumType, Fault, Flow, Form, Grant, Outcome};
use crate::limits::{CACHE_LOOK_BYTES, SECTOR_BYTES};
use crate::wire::nfc::Format;
use crate::wire::vmdk::claimed_capacity;

/// What will be sent, known before the response head is.
pub struct Plan<E: Engine> {
    file: E::File,
    place: Place,
    body: Body,
    /// Strong validator of the representation; absent where it is made on the fly.
    pub etag: Option<String>,
    /// Media type of the representation.
    pub media_type: &'static str,
    /// Size of the disk.
    capacity_bytes: u64,
    /// Changes with the stored content; identifies it in a stream made of it.
    stamp: String,
    /// How the file was opened.
    way: Way,
}

/// Shape of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Stored bytes of known length; ranges apply.
    Stored {
        /// Their number.
        length_bytes: u64,
    },
    /// A streamOptimized VMDK made on the fly; its length is not known before it is sent.
    Stream {
        /// Size of the disk.
        capacity_bytes: u64,
        /// Size of the stored object; the disk reads as zeros beyond it.
        stored_bytes: u64,
    },
}

/// One running download, as its ways see it.
struct Run<'a, E: Engine> {
    dock: &'a Dock<E>,
    plan: &'a Plan<E>,
    flow: &'a Flow,
    grant: &'a Grant,
    pace: Pace,
}

/// What a way has sent.
struct Sent {
    stream_bytes: u64,
    populated_bytes: u64,
    trail: Trail,
    digests: Digests,
}

impl<E: Engine> Plan<E> {
    /// Shape of the body.
    pub fn body(&self) -> Body {
        self.body
    }
}

/// Opens what the grant names and decides how it is represented. `plain`: whether the connection takes bytes by a splice.
///
/// # Errors
/// Storage's, or [`TransferError::Unsuitable`] for a format the object cannot have.
pub async fn plan<E: Engine>(
    dock: &Dock<E>,
    grant: &Grant,
    format: Option<Format>,
    plain: bool,
) -> Result<Plan<E>, TransferError> {
    let target = &grant.disk.target;
    let place = Place { datastore: target.datastore.clone(), path: target.path.clone() };
    let inspection = dock.names(&place, |space, place| space.inspect(place)).await?;
    let stream = match (target.form, format) {
        (Form::Raw, None | Some(Format::Vmdk)) => true,
        (Form::Raw, Some(Format::Raw)) | (Form::Verbatim, None) => false,
        (Form::Verbatim, Some(_)) => {
            let reason = "this disk is stored verbatim and sent as it is; ?format= does not apply".to_owned();
            return Err(TransferError::Unsuitable { reason });
        }
    };
    // For a digest past the page cache the bytes are copied: see `verbatim`.
    let spliced = plain && grant.checksum_type == ChecksumType::None;
    let (file, way) = open(dock, &place, stream, &inspection, spliced).await?;
    let body = match stream {
        true => Body::Stream { capacity_bytes: grant.capacity_bytes, stored_bytes: inspection.length_bytes },
        false => Body::Stored { length_bytes: inspection.length_bytes },
    };
    let media_type = match (stream, grant.disk.disk && target.form == Form::Verbatim) {
        (true, _) | (_, true) => "application/x-vnd.vmware-streamVmdk",
        _ => "application/octet-stream",
    };
    let etag = (!stream).then(|| format!("\"{}\"", inspection.stamp));
    let capacity_bytes = match target.form {
        Form::Raw => grant.capacity_bytes,
        Form::Verbatim => stored_capacity(dock, &place, &file, inspection.length_bytes).await?,
    };
    Ok(Plan { file, place, body, etag, media_type, capacity_bytes, stamp: inspection.stamp, way })
}

/// Opens the object on the way it will take. What is in the page cache already is taken from there.
async fn open<E: Engine>(
    dock: &Dock<E>,
    place: &Place,
    stream: bool,
    inspection: &Inspection,
    spliced: bool,
) -> Result<(E::File, Way), TransferError> {
    let length_bytes = inspection.length_bytes;
    if stream {
        let way = way::disk(length_bytes);
        return Ok((open_source(dock, place, way.direct).await?, way));
    }
    let file = open_source(dock, place, false).await?;
    let look = CACHE_LOOK_BYTES.min(length_bytes);
    let is_cached = |start| dock.engine.is_cached(&file, start..start + look);
    let cached = [0, (length_bytes - look) / 2, length_bytes - look].into_iter().all(is_cached);
    let way = way::fetch(length_bytes, inspection.device, cached, spliced);
    match way.direct {
        true => Ok((open_source(dock, place, true).await?, way)),
        false => {
            if way.ahead {
                dock.engine.will_read_on(&file);
            }
            Ok((file, way))
        }
    }
}

/// Size of the disk in a file that is kept verbatim: what its VMDK header says, or the length of the file.
async fn stored_capacity<E: Engine>(
    dock: &Dock<E>,
    place: &Place,
    file: &E::File,
    length_bytes: u64,
) -> Result<u64, TransferError> {
    let mut head = dock.engine.pool().take().await;
    head.set_len(SECTOR_BYTES as usize);
    let (head, read) = dock.engine.read_at(file, head, 0).await;
    read.map_err(|error| storage(place, error))?;
    Ok(claimed_capacity(&head).unwrap_or(length_bytes))
}

/// Sends the body, or the `part` of it, and settles the grant.
///
/// # Errors
/// Why the download failed; the grant is settled in either case.
pub async fn egress<E: Engine, O: Outlet<E>>(
    dock: &Dock<E>,
    grant: Grant,
    plan: Plan<E>,
    part: Option<Range<u64>>,
    outlet: &mut O,
) -> Result<Receipt, TransferError> {
    let run = Run { dock, plan: &plan, flow: &grant.flow, grant: &grant, pace: dock.pace.stream(&grant) };
    let whole = part.is_none();
    let result = match plan.body {
        Body::Stored { length_bytes } => verbatim::send(&run, part.unwrap_or(0..length_bytes), whole, outlet).await,
        Body::Stream { capacity_bytes, stored_bytes } => stream::send(&run, capacity_bytes, stored_bytes, outlet).await,
    };
    let result = match grant.flow.is_cancelled() {
        true => Err(TransferError::Cut(grant.flow.reason().unwrap_or(Fault::RequestCanceled))),
        false => result,
    };
    dock.metrics.transfers.with_label_values(&["out", if result.is_ok() { "ok" } else { "failed" }]).inc();
    match result {
        Ok(sent) => {
            let receipt = Receipt {
                stream_bytes: sent.stream_bytes,
                checksum_type: grant.checksum_type.reported(),
                digests: sent.digests,
                capacity_bytes: plan.capacity_bytes,
                populated_bytes: sent.populated_bytes,
                trail: sent.trail,
            };
            // A part says nothing about the whole, so the lease's manifest does not change.
            let reason = "a range was sent".to_owned();
            let partial = Outcome::Failed(Fault::SystemError { reason });
            let outcome = if whole { Outcome::Delivered(receipt.delivery()) } else { partial };
            grant.settle(outcome).await.map_err(TransferError::Cut)?;
            Ok(receipt)
        }
        Err(error) => {
            // A source that cannot be read harms nobody's data: the lease stays usable.
            let _ = grant.settle(Outcome::Failed(Fault::SystemError { reason: error.to_string() })).await;
            Err(error)
        }
    }
}
