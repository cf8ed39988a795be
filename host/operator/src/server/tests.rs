use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// Time limit of waits in tests.
const LONG: Duration = Duration::from_secs(60);

/// Handler that answers `/slow` when it gets a permit, and everything else at once.
struct Test {
    permits: Semaphore,
}

impl Service for Test {
    async fn respond(&self, request: Request<Incoming>, slot: &ConnectionSlot) -> HttpResponse {
        if request.uri().path() == "/slow" {
            slot.set_answering();
            drop(self.permits.acquire().await);
        }
        http_response(StatusCode::OK, "text/plain", "yes")
    }
}

struct Running {
    address: SocketAddr,
    service: Arc<Test>,
    shutdown: Shutdown,
    server: JoinHandle<()>,
}

async fn server(connections: usize) -> io::Result<Running> {
    server_with(connections, None).await
}

async fn server_with(connections: usize, tls: Option<TlsAcceptor>) -> io::Result<Running> {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    let (shutdown, service) = (
        Shutdown::default(),
        Arc::new(Test {
            permits: Semaphore::new(0),
        }),
    );
    let server = Server {
        name: "test",
        service: service.clone(),
        tls,
        connections,
        shutdown: shutdown.signal(),
    };
    Ok(Running {
        address,
        service,
        shutdown,
        server: tokio::spawn(server.serve(listener)),
    })
}

async fn ask(stream: &mut TcpStream, path: &str) -> io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await
}

/// Reads until the answer has arrived. Returns false if the connection ends before.
async fn is_answered(stream: &mut TcpStream) -> io::Result<bool> {
    let mut read = Vec::new();
    while !read.ends_with(b"yes") {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether the server closes the connection without sending anything more.
async fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 1]).await, Ok(1..))
}

#[tokio::test]
async fn requests_are_answered_before_shutdown() -> io::Result<()> {
    let running = server(10).await?;
    let (mut slow, mut idle) = (
        TcpStream::connect(running.address).await?,
        TcpStream::connect(running.address).await?,
    );
    ask(&mut idle, "/").await?;
    assert!(is_answered(&mut idle).await?);
    ask(&mut slow, "/slow").await?;
    // References are held by the test, by the server, and by each request that is being answered.
    let is_read = async {
        while Arc::strong_count(&running.service) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(LONG, is_read).await.is_ok());
    let end = running.shutdown.shut_down(LONG);
    let finish = async {
        assert!(is_closed(&mut idle).await, "an idle connection is closed");
        running.service.permits.add_permits(1);
        assert!(is_answered(&mut slow).await?, "a pending request is answered");
        assert!(is_closed(&mut slow).await);
        Ok::<_, io::Error>(())
    };
    let ((), finished) = tokio::join!(end, finish);
    finished?;
    assert!(running.server.await.is_ok());
    assert!(TcpStream::connect(running.address).await.is_err());
    Ok(())
}

#[tokio::test]
async fn shutdown_does_not_wait_for_clients_that_send_nothing() -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
    for tls in [None, Some(TlsAcceptor::from(Arc::new(config)))] {
        let running = server_with(10, tls).await?;
        let mut silent = TcpStream::connect(running.address).await?;
        // The server has accepted the connection when it has its own end of it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        running.shutdown.shut_down(LONG).await;
        assert!(running.server.is_finished() || timeout(LONG, running.server).await.is_ok());
        assert!(is_closed(&mut silent).await);
    }
    Ok(())
}

#[tokio::test]
async fn shutdown_waits_for_a_request_only_for_the_patience() -> io::Result<()> {
    let running = server(10).await?;
    let mut slow = TcpStream::connect(running.address).await?;
    ask(&mut slow, "/slow").await?;
    while Arc::strong_count(&running.service) < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.shutdown.shut_down(Duration::from_millis(20)).await;
    assert!(
        !running.server.is_finished(),
        "the request is still being answered"
    );
    running.service.permits.add_permits(1);
    assert!(is_answered(&mut slow).await?);
    assert!(timeout(LONG, running.server).await.is_ok());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn connections_without_a_complete_head_are_closed() -> io::Result<()> {
    let running = server(10).await?;
    let (mut silent, mut slow) = (
        TcpStream::connect(running.address).await?,
        TcpStream::connect(running.address).await?,
    );
    slow.write_all(b"GET / HTTP/1.1\r\nHost").await?;
    assert!(is_closed(&mut silent).await && is_closed(&mut slow).await);
    Ok(())
}

#[tokio::test]
async fn rejects_large_heads() -> io::Result<()> {
    let running = server(10).await?;
    let mut stream = TcpStream::connect(running.address).await?;
    let head = format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 * BUFFER));
    // The server may close the connection before all is written.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    assert!(!received.starts_with(b"HTTP/1.1 200"));
    Ok(())
}

#[tokio::test]
async fn limits_the_number_of_connections() -> io::Result<()> {
    let running = server(2).await?;
    let mut served = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await?;
        ask(&mut stream, "/").await?;
        assert!(is_answered(&mut stream).await?);
        served.push(stream);
    }
    let mut third = TcpStream::connect(running.address).await?;
    assert!(
        is_closed(&mut third).await,
        "the other connections are of the same address"
    );
    drop(served);
    // The server may not have noticed yet that the others are closed.
    let again = async {
        while !is_served(running.address).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(LONG, again).await.is_ok());
    Ok(())
}

async fn is_served(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return false;
    };
    ask(&mut stream, "/").await.is_ok() && is_answered(&mut stream).await.unwrap_or_default()
}
