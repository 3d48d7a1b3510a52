//! Cases about sockets, pipes and splices.

use std::time::Duration;

use diskferry::disk::{DiskError, Engine, Receive};
use diskferry::limits::{BUFFER_BYTES, PIPE_BYTES};
use futures_util::future::join;

use crate::bench::{Bench, Random};

const SIZE: usize = 3 * 1024 * 1024 + 777;

async fn send_all<E: Engine>(bench: &Bench<E>, socket: &E::Socket, bytes: &[u8]) {
    for piece in bytes.chunks(BUFFER_BYTES) {
        let buffer = bench.buffer(piece).await;
        bench.engine.send(socket, buffer, false).await.1.unwrap();
    }
}

async fn receive_exactly<E: Engine>(bench: &Bench<E>, socket: &E::Socket, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let buffer = bench.engine.pool().take().await;
        let (buffer, received) = bench.engine.recv(socket, buffer, count - all.len(), Receive::Take).await;
        let received = received.unwrap();
        assert_eq!(received, buffer.len());
        assert!(received > 0, "the stream ended after {} bytes", all.len());
        all.extend_from_slice(&buffer);
    }
    all
}

pub async fn much_goes_through_a_socket<E: Engine>(bench: &Bench<E>) {
    for (near, far) in (bench.pairs)(&bench.engine) {
        let bytes = Random::new(1).bytes(SIZE);
        let (_, received) = join(send_all(bench, &near, &bytes), receive_exactly(bench, &far, SIZE)).await;
        assert!(received == bytes);
    }
}

pub async fn peeking_waits_and_leaves_the_bytes<E: Engine>(bench: &Bench<E>) {
    for (near, far) in (bench.pairs)(&bench.engine) {
        let late = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            send_all(bench, &near, b"look at me").await;
        };
        let buffer = bench.engine.pool().take().await;
        let peek = bench.engine.recv(&far, buffer, 4, Receive::Peek);
        let ((), (buffer, count)) = join(late, peek).await;
        let count = count.unwrap();
        assert!((1..=4).contains(&count), "{count}");
        assert_eq!(&buffer[..], &b"look at me"[..count]);
        assert_eq!(receive_exactly(bench, &far, 10).await, b"look at me");
    }
}

pub async fn readiness_waits_and_takes_nothing<E: Engine>(bench: &Bench<E>) {
    for (near, far) in (bench.pairs)(&bench.engine) {
        let early = tokio::time::timeout(Duration::from_millis(20), bench.engine.readable(&far)).await;
        assert!(early.is_err(), "nothing was sent yet");
        send_all(bench, &near, b"now").await;
        bench.engine.readable(&far).await.unwrap();
        assert_eq!(receive_exactly(bench, &far, 3).await, b"now");
        let again = tokio::time::timeout(Duration::from_millis(20), bench.engine.readable(&far)).await;
        assert!(again.is_err(), "everything was received");
        drop(near);
        bench.engine.readable(&far).await.unwrap();
    }
}

pub async fn a_half_closed_socket_still_receives<E: Engine>(bench: &Bench<E>) {
    for (near, far) in (bench.pairs)(&bench.engine) {
        send_all(bench, &near, b"question").await;
        bench.engine.shut_write(&near);
        assert_eq!(receive_exactly(bench, &far, 8).await, b"question");
        let buffer = bench.engine.pool().take().await;
        assert_eq!(bench.engine.recv(&far, buffer, 1, Receive::Take).await.1.unwrap(), 0);
        send_all(bench, &far, b"answer").await;
        assert_eq!(receive_exactly(bench, &near, 6).await, b"answer");
    }
}

pub async fn receiving_into_a_part_keeps_the_rest<E: Engine>(bench: &Bench<E>) {
    let (near, far) = bench.pair();
    send_all(bench, &near, b"abc").await;
    let mut buffer = bench.buffer(b"0123456789").await;
    let mut at = 4;
    while at < 7 {
        let (back, count) = bench.engine.recv_part(&far, buffer, at..7, Receive::Take).await;
        buffer = back;
        at += count.unwrap();
    }
    assert_eq!(&buffer[..], b"0123abc789");
}

pub async fn the_end_of_the_stream_is_zero<E: Engine>(bench: &Bench<E>) {
    for (near, far) in (bench.pairs)(&bench.engine) {
        send_all(bench, &near, b"x").await;
        drop(near);
        assert_eq!(receive_exactly(bench, &far, 1).await, b"x");
        let buffer = bench.engine.pool().take().await;
        let (buffer, count) = bench.engine.recv(&far, buffer, 10, Receive::Take).await;
        assert_eq!((count.unwrap(), buffer.len()), (0, 0));
        let pipe = bench.engine.pipe().unwrap();
        assert_eq!(bench.engine.splice_in(&far, &pipe, 10).await.unwrap(), 0);
    }
}

pub async fn a_closed_peer_is_an_error_of_the_peer<E: Engine>(bench: &Bench<E>) {
    for (near, far) in (bench.pairs)(&bench.engine) {
        drop(far);
        let failure = async {
            loop {
                let buffer = bench.buffer(&[1; BUFFER_BYTES]).await;
                if let Err(error) = bench.engine.send(&near, buffer, true).await.1 {
                    return error;
                }
            }
        };
        let error = tokio::time::timeout(Duration::from_secs(5), failure).await.unwrap();
        assert!(error.is_peer() && !error.is_failed_storage(), "{error}");

        let pipe = filled_pipe(bench, &[1; 100]).await;
        let error = bench.engine.splice_out(&pipe, &near, 100, false).await.unwrap_err();
        assert!(error.is_peer(), "{error}");
    }
}

pub async fn shutting_wakes_a_pending_receive<E: Engine>(bench: &Bench<E>) {
    for (near, _far) in (bench.pairs)(&bench.engine) {
        let later = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            bench.engine.shut(&near);
        };
        let buffer = bench.engine.pool().take().await;
        let (_, (_, count)) = join(later, bench.engine.recv(&near, buffer, 10, Receive::Take)).await;
        assert_eq!(count.unwrap_or(0), 0);
    }
    for (near, _far) in (bench.pairs)(&bench.engine) {
        let later = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            bench.engine.shut(&near);
        };
        let pipe = bench.engine.pipe().unwrap();
        let (_, count) = join(later, bench.engine.splice_in(&near, &pipe, 10)).await;
        assert_eq!(count.unwrap_or(0), 0);
    }
}

/// A peer that never reads: the send must end when we end the connection.
pub async fn a_timeout_ends_a_wait<E: Engine>(bench: &Bench<E>) {
    for (near, _far) in (bench.pairs)(&bench.engine) {
        let flood = async {
            loop {
                let buffer = bench.buffer(&[1; BUFFER_BYTES]).await;
                if let Err(error) = bench.engine.send(&near, buffer, false).await.1 {
                    return error;
                }
            }
        };
        let shut = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bench.engine.shut(&near);
        };
        let (error, ()) = tokio::time::timeout(Duration::from_secs(5), join(flood, shut)).await.unwrap();
        assert!(error.is_peer(), "{error}");
    }
    let (near, _far) = bench.pair();
    let pipe = bench.engine.pipe().unwrap();
    let wait = bench.engine.splice_in(&near, &pipe, 10);
    assert!(tokio::time::timeout(Duration::from_millis(20), wait).await.is_err());
}

pub async fn a_dropped_receive_gives_its_buffer_back<E: Engine>(bench: &Bench<E>) {
    for (near, far) in (bench.pairs)(&bench.engine) {
        let buffer = bench.engine.pool().take().await;
        let receive = bench.engine.recv(&near, buffer, 10, Receive::Take);
        assert!(tokio::time::timeout(Duration::from_millis(20), receive).await.is_err());
        // Nobody shut it and the peer is alive: dropping the last handle has to be enough.
        drop(near);
        let home = async {
            while bench.engine.pool().available() < bench.engine.pool().capacity() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), home).await.expect("the buffer is lost");
        drop(far);
    }
}

async fn filled_pipe<E: Engine>(bench: &Bench<E>, bytes: &[u8]) -> E::Pipe {
    let (near, far) = bench.pair();
    let pipe = bench.engine.pipe().unwrap();
    send_all(bench, &near, bytes).await;
    // A pipe is filled by one splice; small enough bytes come in one.
    loop {
        let buffer = bench.engine.pool().take().await;
        let (_, count) = bench.engine.recv(&far, buffer, bytes.len(), Receive::Peek).await;
        if count.unwrap() == bytes.len() {
            break;
        }
    }
    let mut moved = 0;
    while moved < bytes.len() {
        moved += bench.engine.splice_in(&far, &pipe, bytes.len() - moved).await.unwrap();
    }
    pipe
}

/// Moves what arrives into the file, by copying where the splice is refused. Says how much was spliced.
async fn store<E: Engine>(bench: &Bench<E>, socket: &E::Socket, file: &E::File, count: usize) -> usize {
    let pipe = bench.engine.pipe().unwrap();
    let (mut at, mut spliced) = (0, 0);
    while at < count {
        let held = bench.engine.splice_in(socket, &pipe, (count - at).min(PIPE_BYTES)).await.unwrap();
        assert!(held > 0, "the stream ended after {at} bytes");
        match bench.engine.splice_to_file(&pipe, file, at as u64, held).await {
            Ok(()) => spliced += held,
            Err(DiskError::SpliceRefused) => empty_by_copying(bench, &pipe, file, at, held).await,
            Err(error) => panic!("{error}"),
        }
        at += held;
    }
    spliced
}

async fn empty_by_copying<E: Engine>(bench: &Bench<E>, pipe: &E::Pipe, file: &E::File, at: usize, held: usize) {
    let mut copied = 0;
    while copied < held {
        let buffer = bench.engine.pool().take().await;
        let end = buffer.len().min(held - copied);
        let (mut buffer, count) = bench.engine.read_pipe(pipe, buffer, 0..end).await;
        let count = count.unwrap();
        assert!(count > 0, "the refused splice lost bytes");
        buffer.set_len(count);
        bench.engine.write_at(file, buffer, (at + copied) as u64).await.1.unwrap();
        copied += count;
    }
}

async fn fetch<E: Engine>(bench: &Bench<E>, file: &E::File, socket: &E::Socket, count: usize) {
    let pipe = bench.engine.pipe().unwrap();
    let mut at = 0;
    while at < count {
        let limit = (count - at).min(PIPE_BYTES);
        let held = bench.engine.splice_from_file(file, &pipe, at as u64, limit).await.unwrap();
        assert!(held > 0 && held <= limit, "the file ended after {at} bytes");
        bench.engine.splice_out(&pipe, socket, held, at + held < count).await.unwrap();
        at += held;
    }
}

pub async fn bytes_are_spliced_both_ways<E: Engine>(bench: &Bench<E>, direct: bool) {
    for (near, far) in (bench.pairs)(&bench.engine) {
        let file = bench.target("spliced", SIZE as u64, direct).await;
        let bytes = Random::new(2).bytes(SIZE);
        let (_, spliced) = join(send_all(bench, &near, &bytes), store(bench, &far, &file, SIZE)).await;
        assert!(bench.read(&file, 0, SIZE).await == bytes, "stored wrongly");
        if !bench.engine.is_direct(&file) {
            assert_eq!(spliced, SIZE, "the page cache takes every splice");
        }
        bench.engine.sync(&file).await.unwrap();
        let (_, received) = join(fetch(bench, &file, &near, SIZE), receive_exactly(bench, &far, SIZE)).await;
        assert!(received == bytes, "sent wrongly");
    }
}

/// Direct targets take page-aligned bytes only; what they refuse must still be in the pipe, in order.
pub async fn a_refused_splice_loses_nothing<E: Engine>(bench: &Bench<E>, direct: bool) {
    let file = bench.target("refused", 100_000, direct).await;
    let bytes = Random::new(3).bytes(5000);
    let pipe = filled_pipe(bench, &bytes).await;
    match bench.engine.splice_to_file(&pipe, &file, 123, bytes.len()).await {
        Ok(()) => assert!(!bench.engine.is_direct(&file), "an unaligned splice cannot have been direct"),
        Err(DiskError::SpliceRefused) => {
            assert!(bench.engine.is_direct(&file));
            empty_by_copying(bench, &pipe, &file, 123, bytes.len()).await;
        }
        Err(error) => panic!("{error}"),
    }
    assert_eq!(bench.read(&file, 123, 5000).await, bytes);
    assert!(bench.read(&file, 0, 123).await.iter().all(|byte| *byte == 0));
}

pub async fn a_half_read_pipe_is_not_reused<E: Engine>(bench: &Bench<E>) {
    drop(filled_pipe(bench, b"somebody else's bytes").await);
    let pipe = filled_pipe(bench, b"mine").await;
    let mut buffer = bench.engine.pool().take().await;
    buffer[0] = b'!';
    let (buffer, count) = bench.engine.read_pipe(&pipe, buffer, 1..5).await;
    let count = count.unwrap();
    assert!(count > 0);
    assert_eq!(&b"!mine"[..1 + count], &buffer[..1 + count]);
}
