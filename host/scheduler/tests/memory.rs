//! What the worst answers cost in memory. A test of its own, because the peak is that of the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use dask_operator_scheduler::{Client, MAX_WORKERS, Options};
use support::{greet, hang, request, server, write};
use tokio::net::TcpStream;

/// How many times the largest message an answer may cost: it is in a buffer that may be half empty and that was copied when
/// it grew last, and the texts of its workers are taken out of it.
const TIMES: u64 = 3;

/// The most memory that this process has had so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes << 10
}

/// A worker of as few bytes as possible.
fn short(number: u32) -> Vec<u8> {
    let mut worker = vec![0xa8];
    worker.extend(format!("{number:08x}").bytes());
    worker.push(0x80);
    worker
}

/// A worker whose texts are as long as they may be.
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

/// Sends an answer to `identity` that tells of so many workers. It is made while it is sent, so that it costs nothing here.
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

/// What a worker of some number looks like in a message.
type Encoding = fn(u32) -> Vec<u8>;

#[tokio::test]
async fn no_answer_costs_more_than_some_times_the_largest_message() {
    let options = Options {
        call_timeout: Duration::from_secs(300),
        ..Options::default()
    };
    let limit = options.max_message;
    let most = u32::try_from(MAX_WORKERS).unwrap();
    let cases: [(u32, Encoding, bool); 3] = [
        (600_000, short, false),
        (most, short, true),
        // As many as there is room for.
        (64_000, long, true),
    ];
    for (workers, worker, is_taken_in) in cases {
        let address = server(move |_, mut stream| async move {
            greet(&mut stream).await;
            request(&mut stream).await;
            send(&mut stream, workers, worker).await;
            hang().await;
        });
        let mut scheduler = Client::new(options.clone()).scheduler(address.await);
        let before = peak();
        match scheduler.identity().await {
            Ok(identity) => assert!(is_taken_in && identity.workers.len() == workers as usize),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !is_taken_in && error.contains("more than 100000 workers"),
                    "{error}"
                );
            }
        }
        let cost = peak() - before;
        assert!(cost <= TIMES * limit, "{workers} workers cost {} MiB", cost >> 20);
    }
}
