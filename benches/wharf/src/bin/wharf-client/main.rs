//! A client that costs as little as possible: PUT by sendfile, GET without a copy, many streams from few threads, TLS 1.3.
//!
//! Run by `benches/peers dataplane`. Every answer's status and every body's length is checked: whoever gets figures from it
//! has moved the bytes. What the bytes are is checked by others, once, because looking at them costs more than moving them.
//!
//! ```text
//!   main ──► order      what was asked for on the command line
//!        ──► fleet      all streams at once: a thread each when they are few, epoll when they are many
//!              ├──► plain ──► head     one stream on a plain socket, step by step
//!              └──► sealed ──► records one stream over TLS
//! ```
//!
//! Prints one JSON object. Exit code 1 if a stream failed, 2 for wrong usage.

mod fleet;
mod head;
mod order;
mod plain;
mod records;
mod sealed;

use std::process::ExitCode;

use fleet::Outcome;
use order::Order;

/// What a stream ends with when it does not end well.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let order = match Order::from_words(&arguments) {
        Ok(order) => order,
        Err(reason) => {
            eprintln!("wharf-client: {reason}\n{}", order::USAGE);
            return ExitCode::from(2);
        }
    };
    match fleet::run(&order) {
        Ok(outcome) => {
            println!("{}", json(&outcome));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("wharf-client: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn json(outcome: &Outcome) -> String {
    let streams: Vec<String> = outcome
        .streams
        .iter()
        .map(|stream| {
            format!(
                "{{\"seconds\":{:.6},\"bytes\":{},\"bytesAtFirstEnd\":{},\"status\":{}}}",
                stream.seconds, stream.bytes, stream.bytes_at_first_end, stream.status
            )
        })
        .collect();
    let bytes: u64 = outcome.streams.iter().map(|stream| stream.bytes).sum();
    format!("{{\"seconds\":{:.6},\"bytes\":{bytes},\"streams\":[{}]}}", outcome.seconds, streams.join(","))
}
