//! Test servers with given behaviour, and messages recorded from real schedulers.
#![allow(dead_code, clippy::unwrap_used)]

use std::future::Future;
use std::time::Duration;

use dask_operator_scheduler::{Address, Client, Options, Scheduler, Scheme, wire};
use tokio::net::{TcpListener, TcpStream};

/// The releases with recordings.
pub(crate) const RELEASES: [&str; 3] = ["2022.8.1", "2024.8.2", "2026.8.0"];

/// Returns the recorded message of a release.
pub(crate) fn recorded(release: &str, what: &str) -> Vec<u8> {
    let file = format!(
        "{}/tests/recorded/{release}-{what}.bin",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Listens on the loopback interface and calls `serve` for each connection, with
/// the connection's number. Ends with the test's runtime.
pub(crate) async fn server<F>(serve: impl Fn(usize, TcpStream) -> F + Send + Sync + 'static) -> Address
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(number, stream));
        }
    });
    Address::new(Scheme::Tcp, "127.0.0.1", port)
}

/// Timeout that no machine exceeds.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Returns a handle with long timeouts.
pub(crate) fn scheduler(address: Address) -> Scheduler {
    scheduler_within(address, LONG, LONG)
}

/// Returns a handle with these timeouts for the connection, handshake included, and for each call.
pub(crate) fn scheduler_within(address: Address, connect: Duration, call: Duration) -> Scheduler {
    let options = Options {
        connect_timeout: connect,
        call_timeout: call,
        retire_timeout: call,
        max_message: 1 << 20,
        ..Options::default()
    };
    Client::new(options).scheduler(address)
}

/// Performs the handshake of a scheduler.
pub(crate) async fn greet(stream: &mut TcpStream) {
    write(stream, &recorded("2026.8.0", "handshake")).await;
    request(stream).await;
}

/// Reads a message and returns its first frame. Empty at the end of the connection.
pub(crate) async fn request(stream: &mut TcpStream) -> Vec<u8> {
    wire::read_message(stream, 1 << 20).await.unwrap_or_default()
}

/// Sends bytes. Errors are ignored, because the peer may be gone.
pub(crate) async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    use tokio::io::AsyncWriteExt;
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

/// Waits longer than any test runs.
pub(crate) async fn hang() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}
