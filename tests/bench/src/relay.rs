//! A TCP relay between an operator and the API server, which counts the bytes that the operator receives.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use hyper::Uri;
use kube::config::Kubeconfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running relay. It stops when this is dropped.
pub(crate) struct Relay {
    kubeconfig: tempfile::NamedTempFile,
    received: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay to the API server that `KUBECONFIG` names.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut config = Kubeconfig::read().context("the relay needs a kubeconfig")?;
        let server = redirect(&mut config, &format!("https://{}", listener.local_addr()?))?;
        let kubeconfig = tempfile::Builder::new().suffix(".json").tempfile()?;
        std::fs::write(kubeconfig.path(), serde_json::to_vec(&config)?)?;
        let received = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, server, received.clone()));
        Ok(Self {
            kubeconfig,
            received,
            task,
        })
    }

    /// Returns a kubeconfig that names the relay.
    pub(crate) fn kubeconfig(&self) -> &Path {
        self.kubeconfig.path()
    }

    /// Returns the number of bytes that the API server has sent, with TLS and HTTP.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Replaces the address of the API server in the current context. Returns host and port of the former one.
fn redirect(config: &mut Kubeconfig, address: &str) -> Result<String> {
    let current = config.current_context.as_deref().unwrap_or_default();
    let mut contexts = config.contexts.iter().filter(|context| context.name == current);
    let context = contexts.next().and_then(|context| context.context.as_ref());
    let name = &context.context("the kubeconfig has no current context")?.cluster;
    let mut clusters = config.clusters.iter_mut().filter(|cluster| cluster.name == *name);
    let cluster = clusters.next().and_then(|cluster| cluster.cluster.as_mut());
    let cluster = cluster.with_context(|| format!("the kubeconfig has no cluster {name:?}"))?;
    let server: Uri = cluster.server.as_deref().unwrap_or_default().parse()?;
    let host = server
        .host()
        .context("the kubeconfig has no host of the API server")?;
    cluster.server = Some(address.to_owned());
    // The certificate is that of the API server.
    if cluster.tls_server_name.is_none() {
        cluster.tls_server_name = Some(host.trim_matches(['[', ']']).to_owned());
    }
    Ok(format!("{host}:{}", server.port_u16().unwrap_or(443)))
}

/// Relays connections.
async fn accept(listener: TcpListener, server: String, received: Arc<AtomicU64>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(relay(client, server.clone(), received.clone()));
    }
}

/// Relays one connection. Its errors end it, and its client sees that.
async fn relay(mut client: TcpStream, server: String, received: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            received.fetch_add(length as u64, Ordering::Relaxed);
            to_client.write_all(&buffer[..length]).await?;
        }
    };
    tokio::select! {
        ended = tokio::io::copy(&mut from_client, &mut to_server) => ended.map(drop),
        ended = answers => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_current_context_is_replaced() {
        let text = r#"{"current-context": "b",
            "contexts": [{"name": "a", "context": {"cluster": "one"}}, {"name": "b", "context": {"cluster": "two"}}],
            "clusters": [{"name": "one", "cluster": {"server": "https://one"}},
                         {"name": "two", "cluster": {"server": "https://two.example:6443"}}]}"#;
        let mut config: Kubeconfig = serde_json::from_str(text).expect("a kubeconfig");
        let server = redirect(&mut config, "https://127.0.0.1:5");
        assert_eq!(server.expect("an address"), "two.example:6443");
        let servers: Vec<_> = config
            .clusters
            .iter()
            .filter_map(|cluster| cluster.cluster.as_ref()?.server.clone())
            .collect();
        assert_eq!(servers, ["https://one", "https://127.0.0.1:5"]);
        config.current_context = None;
        assert!(redirect(&mut config, "https://127.0.0.1:5").is_err());
    }

    #[tokio::test]
    async fn received_bytes_are_counted() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a relay");
        let address = listener.local_addr().expect("its address");
        let received = Arc::new(AtomicU64::new(0));
        let to = server.local_addr().expect("its address").to_string();
        tokio::spawn(accept(listener, to, received.clone()));
        let mut client = TcpStream::connect(address).await.expect("a connection");
        client.write_all(b"ask").await.expect("a request");
        let (mut peer, _) = server.accept().await.expect("the relay's connection");
        let mut request = [0; 3];
        peer.read_exact(&mut request).await.expect("the request");
        peer.write_all(b"answer").await.expect("an answer");
        drop(peer);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("the answer");
        assert_eq!((&request, answer.as_str()), (b"ask", "answer"));
        assert_eq!(received.load(Ordering::Relaxed), 6);
    }
}
