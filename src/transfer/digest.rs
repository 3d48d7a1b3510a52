//! The digests of a stream, computed on the crew so that hashing never holds a data thread.
//!
//! Pieces are hashed strictly in order; one piece at a time is on a worker, while the stream already fetches the next. The
//! algorithms are those of AWS-LC: on processors without instructions for SHA the portable ones take three times as long.

use std::fmt::Write;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::crew::Crew;
use super::error::TransferError;
use crate::lease::ChecksumType;

/// Running digest of one stream, or two of them.
pub struct Digest {
    crew: Crew,
    // Absent only while a worker holds it; a worker that fails ends the stream.
    state: Option<State>,
    hashed_bytes: u64,
}

enum State {
    Running {
        checksum: Box<Context>,
        /// Beside a checksum of another kind.
        sha1: Option<Box<Context>>,
    },
    /// Nothing is computed.
    Unwanted,
}

/// What is known of a whole stream, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digests {
    /// The checksum of the type that was wanted; empty when none was.
    pub checksum: String,
    /// SHA-1, if that was computed, as the checksum or beside it.
    pub sha1: Option<String>,
}

impl Digest {
    /// Starts a digest of the given type.
    pub fn new(kind: ChecksumType, crew: Crew) -> Digest {
        let new = |algorithm| Box::new(Context::new(algorithm));
        let state = match kind {
            ChecksumType::Sha1 => State::Running { checksum: new(&SHA1_FOR_LEGACY_USE_ONLY), sha1: None },
            ChecksumType::Sha256 => State::Running { checksum: new(&SHA256), sha1: None },
            ChecksumType::Both => State::Running { checksum: new(&SHA256), sha1: Some(new(&SHA1_FOR_LEGACY_USE_ONLY)) },
            ChecksumType::None => State::Unwanted,
        };
        Digest { crew, state: Some(state), hashed_bytes: 0 }
    }

    /// Adds the next piece and gives it back.
    ///
    /// # Errors
    /// [`TransferError::CrewGone`] when the worker failed.
    pub async fn update<B: AsRef<[u8]> + Send + 'static>(&mut self, piece: B) -> Result<B, TransferError> {
        if !self.is_wanted() {
            return Ok(piece);
        }
        let mut state = self.state.take().ok_or(TransferError::CrewGone)?;
        self.hashed_bytes += piece.as_ref().len() as u64;
        let (state, piece) = self
            .crew
            .run_brief(move |_| {
                if let State::Running { checksum, sha1 } = &mut state {
                    for hash in std::iter::once(checksum).chain(sha1) {
                        hash.update(piece.as_ref());
                    }
                }
                (state, piece)
            })
            .await?;
        self.state = Some(state);
        Ok(piece)
    }

    /// Whether bytes have to be shown to it at all.
    pub fn is_wanted(&self) -> bool {
        !matches!(self.state, Some(State::Unwanted))
    }

    /// Bytes hashed so far.
    pub fn hashed_bytes(&self) -> u64 {
        self.hashed_bytes
    }

    /// The digests of all that was shown.
    ///
    /// # Errors
    /// [`TransferError::CrewGone`] when a worker had failed.
    pub fn finish(self) -> Result<Digests, TransferError> {
        let State::Running { checksum, sha1 } = self.state.ok_or(TransferError::CrewGone)? else {
            return Ok(Digests::default());
        };
        let is_sha1 = *checksum.algorithm() == SHA1_FOR_LEGACY_USE_ONLY;
        let checksum = hex(checksum.finish().as_ref());
        let sha1 = sha1.map(|hash| hex(hash.finish().as_ref())).or_else(|| is_sha1.then(|| checksum.clone()));
        Ok(Digests { checksum, sha1 })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::vmdk::Level;

    #[tokio::test]
    async fn pieces_give_the_digest_of_the_whole() {
        let crew = Crew::start(2, Level::Fast).unwrap();
        let mut digest = Digest::new(ChecksumType::Sha1, crew.clone());
        digest.update(b"abc".to_vec()).await.unwrap();
        digest.update(b"dbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_vec()).await.unwrap();
        assert_eq!(digest.hashed_bytes(), 56);
        let sha1 = "84983e441c3bd26ebaae4aa1f95129e5e54670f1";
        assert_eq!(digest.finish().unwrap(), Digests { checksum: sha1.into(), sha1: Some(sha1.into()) });
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for (kind, checksum, sha1) in [
            (ChecksumType::Sha256, sha256, None),
            (ChecksumType::Both, sha256, Some("a9993e364706816aba3e25717850c26c9cd0d89d")),
            (ChecksumType::None, "", None),
        ] {
            let mut digest = Digest::new(kind, crew.clone());
            digest.update(b"a".to_vec()).await.unwrap();
            digest.update(b"bc".to_vec()).await.unwrap();
            let expected = Digests { checksum: checksum.into(), sha1: sha1.map(str::to_owned) };
            assert_eq!(digest.finish().unwrap(), expected, "{kind:?}");
        }
    }
}
