//! HTTP/1.1 messages of the data plane: heads, chunked bodies, ranges, answers, and the fields of resumable uploads.
//!
//! Used by `edge/nfc` and by clients of it. Sans-I/O and strict: a request whose framing two readers could understand
//! differently is refused (RFC 9112, sections 6 and 11.2), so nothing can be smuggled past or into the data plane.

mod answer;
mod body;
mod head;
mod range;
mod upload;

pub use answer::{Answer, AnswerError, CHUNK_END, CONTINUE, LAST_CHUNK, chunk_head, reason_phrase};
pub use body::{ChunkedDecoder, FramingError, Step};
pub use head::{Framing, Head, HeadError, Method, Version, parse_head};
pub use range::{Selection, content_range, content_range_unsatisfied, select};
pub use upload::{
    INTEROP_VERSION, PARTIAL_UPLOAD_TYPE, PROBLEM_COMPLETED_UPLOAD, PROBLEM_INCONSISTENT_LENGTH,
    PROBLEM_MISMATCHING_OFFSET, UploadError, UploadFields, UploadLimit, format_boolean,
};
