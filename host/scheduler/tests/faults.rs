//! Servers that hang, end connections, send invalid data or are not Dask: each gives a specific error within the deadline.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use dask_operator_scheduler::{
    Address, Budget, Client, Error, ErrorKind, FactsRequest, Options, Phase, Scheme, wire,
};
use rstest::rstest;
use support::{LONG, greet, hang, recorded, request, scheduler, scheduler_within, server, write};
use tokio::io::AsyncReadExt;

/// Timeout of calls that are to time out.
const LIMIT: Duration = Duration::from_millis(400);

/// Returns the timeout for a server that sends these bytes: short if it sends none and keeps the connection open.
fn limit(bytes: &[u8], then_close: bool) -> Duration {
    if bytes.is_empty() && !then_close {
        LIMIT
    } else {
        LONG
    }
}

/// Returns the error of a call to a scheduler that performs the handshake and then sends these bytes.
async fn after_greeting(bytes: Vec<u8>, then_close: bool) -> Error {
    let limit = limit(&bytes, then_close);
    let address = server(move |_, mut stream| {
        let bytes = bytes.clone();
        async move {
            greet(&mut stream).await;
            request(&mut stream).await;
            write(&mut stream, &bytes).await;
            if !then_close {
                hang().await;
            }
        }
    });
    let mut scheduler = scheduler_within(address.await, LONG, limit);
    scheduler.identity().await.unwrap_err()
}

/// Returns the error of a call to a server that sends these bytes and performs no handshake.
async fn instead_of_greeting(bytes: Vec<u8>, then_close: bool) -> Error {
    let limit = limit(&bytes, then_close);
    let address = server(move |_, mut stream| {
        let bytes = bytes.clone();
        async move {
            write(&mut stream, &bytes).await;
            if !then_close {
                hang().await;
            }
            // Wait for the client's bytes, because unread ones would reset the connection before its own are read.
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let mut scheduler = scheduler_within(address.await, limit, LONG);
    scheduler.identity().await.unwrap_err()
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[rstest]
#[case::hangs(b"".to_vec(), false, "did not finish Dask's handshake within 400ms")]
#[case::leaves(b"".to_vec(), true, "ended the connection during Dask's handshake: the connection was closed")]
#[case::http(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false, "is not a Dask scheduler: an HTTP server is there")]
#[case::ssh(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), false, "is not a Dask scheduler: its greeting begins with the bytes")]
#[case::short(b"hi\r\n".to_vec(), true, "is not a Dask scheduler: the connection was closed in the middle of a message")]
#[case::alert(vec![0x15, 3, 1, 0, 2, 2, 0x46], true, "wants TLS: write tls:// instead of tcp://")]
#[case::no_greeting(
    wire::encode(b"\xa5hello"),
    false,
    "is not a Dask scheduler: it does not greet as Dask does"
)]
#[case::empty(numbers(&[8, 0]), false, "is not a Dask scheduler: a message too short for a frame")]
#[tokio::test]
async fn identifies_servers_that_are_not_dask(
    #[case] bytes: Vec<u8>,
    #[case] then_close: bool,
    #[case] expected: &str,
) {
    let error = instead_of_greeting(bytes, then_close).await.to_string();
    assert!(error.starts_with("tcp://127.0.0.1:"), "{error}");
    assert!(error.contains(expected), "{error}");
}

#[rstest]
#[case::hangs(vec![], false, "did not finish identity within 400ms")]
#[case::huge_in_one_piece(numbers(&[u64::MAX, 1, 1]), false, "of 18446744073709551615 bytes; the limit is 1048576")]
#[case::huge_frame(numbers(&[16, 1, u64::MAX]), false, "of 18446744073709551615 bytes; the limit is 1048576")]
#[case::over_the_limit(numbers(&[16, 1, 1 << 20]), false, "of 1048592 bytes; the limit is 1048576")]
#[case::many_frames(numbers(&[16, u64::MAX / 8, 1]), false, "more frames than there is room for their lengths")]
#[case::no_frames(numbers(&[16, 0, 0]), false, "a message without frames")]
#[case::longer_than_frames(numbers(&[100, 1, 1]), false, "a message longer than its frames")]
#[case::garbage(wire::encode(b"\xc1"), false, "no MessagePack of the expected form")]
#[case::half_a_map(
    wire::encode(b"\x82\xa4type\xa9Scheduler"),
    false,
    "no MessagePack of the expected form"
)]
#[case::another_type(wire::encode(b"\x07"), false, "no MessagePack of the expected form")]
#[case::worker(
    wire::encode(b"\x81\xa4type\xa6Worker"),
    false,
    "is not a Dask scheduler: it calls itself Worker"
)]
#[case::many_workers(
    wire::encode(&many_workers()),
    false,
    "it tells of more than 100000 workers"
)]
#[case::nested(wire::encode(&[0x91; 100_000]), false, "no MessagePack of the expected form")]
#[tokio::test]
async fn invalid_replies_are_errors(
    #[case] bytes: Vec<u8>,
    #[case] then_close: bool,
    #[case] expected: &str,
) {
    let error = after_greeting(bytes, then_close).await.to_string();
    assert!(error.contains(expected), "{error}");
}

/// Returns a scheduler's reply with one worker more than the maximum.
fn many_workers() -> Vec<u8> {
    let mut frame = b"\x82\xa4type\xa9Scheduler\xa7workers\xdf\0\x01\x86\xa1".to_vec();
    for number in 0..100_001_u32 {
        frame.push(0xa5);
        frame.extend(format!("{number:05x}").bytes());
        frame.push(0x80);
    }
    frame
}

/// With several workers in each pod, one of them may have an oversized name or address.
#[tokio::test]
async fn an_oversized_name_does_not_affect_other_workers() {
    let address = server(async |_, mut stream| {
        greet(&mut stream).await;
        request(&mut stream).await;
        let long = [b"\xda\x02\x58".as_slice(), &[b'a'; 600]].concat();
        let mut frame = b"\x82\xa4type\xa9Scheduler\xa7workers\x83".to_vec();
        frame.extend(&long);
        frame.extend(b"\x80\xa1b\x81\xa4name");
        frame.extend(&long);
        frame.extend(b"\xa1c\x81\xa4name\xa1n");
        write(&mut stream, &wire::encode(&frame)).await;
        hang().await;
    });
    let workers = scheduler(address.await).identity().await.unwrap().workers;
    let names: Vec<_> = workers
        .iter()
        .map(|worker| (worker.address.as_str(), worker.name.as_str()))
        .collect();
    assert_eq!(names, [("b", "b"), ("c", "n")]);
}

/// A call that waits for memory that other messages use is not reported as a timeout.
#[tokio::test]
async fn distinguishes_busy_from_timeout() {
    let large = || {
        server(async |_, mut stream| {
            greet(&mut stream).await;
            request(&mut stream).await;
            write(&mut stream, &numbers(&[(1 << 20) + 16, 1, 1 << 20])).await;
            write(&mut stream, &[0; 1 << 19]).await;
            hang().await;
        })
    };
    let options = Options {
        call_timeout: LIMIT,
        budget: Budget::new(1 << 18),
        ..Options::default()
    };
    let late = Client::new(options.clone())
        .scheduler(large().await)
        .identity()
        .await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Busy);
    let options = Options {
        budget: Budget::new(1 << 22),
        ..options
    };
    let late = Client::new(options).scheduler(large().await).identity().await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
}

/// The text of an exception is truncated, and its control characters become spaces.
#[tokio::test]
async fn long_exceptions_are_truncated() {
    let mut frame = b"\x82\xa6status\xa5error\xaeexception_text\xdb\0\x01\0\0".to_vec();
    frame.extend([b'\n'; 1 << 16]);
    let error = after_greeting(wire::encode(&frame), false).await.to_string();
    assert!(error.contains("answers identity with an exception"), "{error}");
    assert!(error.len() < 1000 && !error.contains('\n'), "{error}");
}

/// Retiring may take long, but a reply that has begun must arrive in time.
#[tokio::test]
async fn an_incomplete_reply_times_out() {
    let address = server(async |_, mut stream| {
        greet(&mut stream).await;
        request(&mut stream).await;
        let answer = recorded("2026.8.0", "retire_workers");
        write(&mut stream, &answer[..answer.len() / 2]).await;
        hang().await;
    });
    let options = Options {
        call_timeout: LIMIT,
        retire_timeout: Duration::from_secs(3600),
        ..Options::default()
    };
    let mut scheduler = Client::new(options).scheduler(address.await);
    let error = scheduler.retire(&["w".to_owned()]).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { limit: LIMIT, .. }), "{error}");
}

/// A real reply, truncated at many positions.
#[tokio::test]
async fn reports_a_connection_that_ends_within_a_reply() {
    let answer = recorded("2026.8.0", "identity");
    for length in (1..answer.len()).step_by(13) {
        let error = after_greeting(answer[..length].to_vec(), true).await;
        assert!(
            matches!(
                error,
                Error::Lost {
                    phase: Phase::Call("identity"),
                    ..
                }
            ),
            "{length}: {error}"
        );
    }
}

/// The server sends a byte at a time and does not finish: the deadline applies to the whole reply.
#[tokio::test]
async fn the_deadline_applies_to_the_whole_reply() {
    let address = server(async |_, mut stream| {
        greet(&mut stream).await;
        request(&mut stream).await;
        for byte in recorded("2026.8.0", "identity") {
            write(&mut stream, &[byte]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut scheduler = scheduler_within(address.await, LONG, LIMIT);
    let error = scheduler.identity().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TimedOut {
                phase: Phase::Call("identity"),
                limit: LIMIT,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        !scheduler.is_connected(),
        "the rest of a reply is left in this connection"
    );
}

/// The reply arrives in small pieces, but in time.
#[tokio::test]
async fn accepts_a_slow_reply() {
    let address = server(async |_, mut stream| {
        greet(&mut stream).await;
        request(&mut stream).await;
        for piece in recorded("2022.8.1", "identity").chunks(7) {
            write(&mut stream, piece).await;
            tokio::task::yield_now().await;
        }
        hang().await;
    });
    assert_eq!(
        scheduler(address.await).identity().await.unwrap().workers.len(),
        2
    );
}

/// The head excludes frames from the piece, as newer releases do for pickled objects.
#[tokio::test]
async fn skips_frames_outside_of_the_piece() {
    let address = server(async |_, mut stream| {
        greet(&mut stream).await;
        for _ in 0..2 {
            request(&mut stream).await;
            write(&mut stream, &numbers(&[33, 3, 1, 5000, 70])).await;
            write(&mut stream, b"\x07").await;
            write(&mut stream, &[0xc1; 5070]).await;
        }
        hang().await;
    });
    let mut scheduler = scheduler(address.await);
    assert_eq!(scheduler.adaptive_target(None).await.unwrap(), Some(7));
    assert_eq!(scheduler.adaptive_target(None).await.unwrap(), Some(7));
}

/// A value that is not a count is `None`, and does not invalidate the other facts.
#[rstest]
#[case::not_a_number(b"\xcb\x7f\xf8\0\0\0\0\0\0", None)]
#[case::infinite(b"\xcb\x7f\xf0\0\0\0\0\0\0", None)]
#[case::negative(b"\xff", None)]
#[case::truth(b"\xc3", None)]
#[case::text(b"\xa4many", None)]
#[case::list(b"\x90", None)]
#[case::nothing(b"\x00", Some(0))]
#[case::fraction(b"\xcb\x3f\xf8\0\0\0\0\0\0", Some(1))]
#[tokio::test]
async fn a_value_that_is_not_a_count_is_no_demand(
    #[case] answer: &'static [u8],
    #[case] expected: Option<u32>,
) {
    let address = server(async move |_, mut stream| {
        greet(&mut stream).await;
        request(&mut stream).await;
        write(&mut stream, &recorded("2026.8.0", "identity")).await;
        request(&mut stream).await;
        write(&mut stream, &wire::encode(answer)).await;
        hang().await;
    });
    let request = FactsRequest {
        idle_since: false,
        ..FactsRequest::default()
    };
    let facts = scheduler(address.await).facts(&request).await.unwrap();
    assert_eq!(facts.desired_workers, expected);
    assert!(!facts.workers.is_empty());
}

/// Returns a scheduler that replies to this many calls and then closes the connection.
async fn answers(calls: usize) -> Address {
    server(move |_, mut stream| async move {
        greet(&mut stream).await;
        for _ in 0..calls {
            request(&mut stream).await;
            write(&mut stream, &recorded("2026.8.0", "adaptive_target")).await;
        }
    })
    .await
}

#[tokio::test]
async fn reconnects_after_an_idle_connection_was_closed() {
    let mut scheduler = scheduler(answers(1).await);
    for _ in 0..5 {
        assert_eq!(scheduler.adaptive_target(None).await.unwrap(), Some(1));
        // Wait until the end of the connection has arrived.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn reconnects_only_once() {
    let error = scheduler(answers(0).await)
        .adaptive_target(None)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Lost {
                phase: Phase::Call("adaptive_target"),
                ..
            }
        ),
        "{error}"
    );
}

/// After an invalid reply, the next call opens a new connection.
#[tokio::test]
async fn reconnects_after_an_invalid_reply() {
    let address = server(async |number, mut stream| {
        greet(&mut stream).await;
        while !request(&mut stream).await.is_empty() {
            let invalid = wire::encode(b"\xc1");
            let answer = if number == 0 {
                invalid
            } else {
                recorded("2026.8.0", "identity")
            };
            write(&mut stream, &answer).await;
        }
    });
    let mut scheduler = scheduler(address.await);
    let error = scheduler.identity().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert_eq!(scheduler.identity().await.unwrap().workers.len(), 2);
}

/// Dropping a call closes its connection, so that a late reply is not taken for that of the next call.
#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    let address = server(async |number, mut stream| {
        greet(&mut stream).await;
        request(&mut stream).await;
        if number == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            write(&mut stream, &wire::encode(b"\x09")).await;
        } else {
            write(&mut stream, &wire::encode(b"\x02")).await;
        }
        hang().await;
    });
    let mut scheduler = scheduler(address.await);
    let dropped = tokio::time::timeout(Duration::from_millis(20), scheduler.adaptive_target(None)).await;
    assert!(dropped.is_err());
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(scheduler.adaptive_target(None).await.unwrap(), Some(2));
}

#[tokio::test]
async fn reports_an_unreachable_scheduler() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = scheduler(Address::new(Scheme::Tcp, "127.0.0.1", port))
        .identity()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let error = scheduler(Address::new(Scheme::Tcp, "no.such.host.invalid", port))
        .identity()
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unreachable { .. }
                | Error::TimedOut {
                    phase: Phase::Connect,
                    ..
                }
        ),
        "{error}"
    );
    let error = scheduler(Address::new(Scheme::Tls, "127.0.0.1", port))
        .identity()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn requires_credentials_for_tls() {
    let address = server(async |_, _| hang().await).await;
    let address = Address::new(Scheme::Tls, "127.0.0.1", address.port());
    let error = scheduler(address).identity().await.unwrap_err();
    assert!(matches!(error, Error::TlsNotConfigured { .. }), "{error}");
}

/// Invalid HTTP responses and their errors.
#[rstest]
#[case::hangs("", "did not finish /json/identity.json within 400ms")]
#[case::no_http("ahoy\r\n\r\n", "is not a Dask scheduler: no HTTP server is there")]
#[case::no_json(
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "is not Dask's protocol, during /json/identity.json"
)]
#[case::error(
    "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nhi",
    "answers /json/identity.json with HTTP status 403: hi"
)]
#[case::unwritable("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nhi", "ask the comm port instead")]
#[case::huge(
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    "the limit is 1048576"
)]
#[case::worker(
    "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"type\":\"Worker\"}",
    "it calls itself Worker"
)]
#[tokio::test]
async fn http_responses_that_are_errors(#[case] answer: &'static str, #[case] expected: &str) {
    let address = server(async |_, mut stream| {
        let _ = stream.read(&mut [0; 1024]).await;
        write(&mut stream, answer.as_bytes()).await;
        hang().await;
    });
    let url = format!("http://127.0.0.1:{}", address.await.port());
    let options = Options {
        call_timeout: LIMIT,
        max_message: 1 << 20,
        ..Options::default()
    };
    let error = Client::new(options)
        .http(&url)
        .unwrap()
        .identity()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(&url) && error.contains(expected), "{error}");
}

#[rstest]
#[case("https://127.0.0.1:8787", "does not begin with http://")]
#[case("http://:8787", "names no host")]
#[case("http://host:8787/a b", "characters that no path has")]
fn rejects_invalid_urls(#[case] url: &str, #[case] expected: &str) {
    let error = Client::default().http(url).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}
