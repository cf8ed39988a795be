//! Memory cost of the largest replies. A separate test binary, because the peak is that of the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use dask_operator_scheduler::{Client, MAX_WORKERS, Options};
use support::{greet, hang, request, server, write};
use tokio::net::TcpStream;

/// Maximum cost of a reply, as a multiple of the largest message: the buffer may be half empty, it may be copied when it grows
/// for the last time, and the texts of the workers are copied out of it.
const MAX_FACTOR: u64 = 3;

/// Returns the peak memory of this process so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes << 10
}

/// Encodes a worker in as few bytes as possible.
fn short(number: u32) -> Vec<u8> {
    let mut worker = vec![0xa8];
    worker.extend(format!("{number:08x}").bytes());
    worker.push(0x80);
    worker
}

/// Encodes a worker whose texts have the maximum length.
fn long(number: u32) -> Vec<u8> {
    let text = format!("{number:0512x}");
    let mut worker = Vec::new();
    for before in [b"".as_slice(), b"\x82\xa4name", b"\xa6status"] {
        worker.extend(before);
        worker.extend(b"\xda\x02\x00");
        worker.extend(text.bytes());
    }
    worker
}

/// Sends a reply to `identity` with this many workers. The reply is encoded while it is sent, so that this process needs no
/// memory for it.
async fn send(stream: &mut TcpStream, workers: u32, worker: fn(u32) -> Vec<u8>) {
    let mut head = b"\x82\xa4type\xa9Scheduler\xa7workers\xdf".to_vec();
    head.extend(workers.to_be_bytes());
    let length = (head.len() + workers as usize * worker(0).len()) as u64;
    let mut begin = Vec::new();
    for number in [length + 16, 1, length] {
        begin.extend(number.to_le_bytes());
    }
    begin.extend(head);
    write(stream, &begin).await;
    for first in (0..workers).step_by(1000) {
        let portion: Vec<u8> = (first..workers.min(first + 1000)).flat_map(worker).collect();
        write(stream, &portion).await;
    }
}

/// A function that encodes the worker with a given number.
type Encoding = fn(u32) -> Vec<u8>;

#[tokio::test]
async fn the_memory_for_a_reply_is_bounded_by_the_message_limit() {
    let options = Options {
        call_timeout: Duration::from_secs(300),
        ..Options::default()
    };
    let limit = options.max_message;
    let most = u32::try_from(MAX_WORKERS).unwrap();
    let cases: [(u32, Encoding, bool); 3] = [
        (600_000, short, false),
        (most, short, true),
        // The largest number that fits into a message.
        (64_000, long, true),
    ];
    for (workers, worker, is_accepted) in cases {
        let address = server(move |_, mut stream| async move {
            greet(&mut stream).await;
            request(&mut stream).await;
            send(&mut stream, workers, worker).await;
            hang().await;
        });
        let mut scheduler = Client::new(options.clone()).scheduler(address.await);
        let before = peak();
        match scheduler.identity().await {
            Ok(identity) => assert!(is_accepted && identity.workers.len() == workers as usize),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !is_accepted && error.contains("more than 100000 workers"),
                    "{error}"
                );
            }
        }
        let cost = peak() - before;
        assert!(
            cost <= MAX_FACTOR * limit,
            "{workers} workers cost {} MiB",
            cost >> 20
        );
    }
}
