//! Simulated Dask schedulers: one server that answers at the addresses of all schedulers' Services. The address of a connection
//! tells which scheduler is meant.
//!
//! A scheduler has the workers that [`Schedulers::register`] was called with. They hold no results, so they are retired at once.

mod addresses;
mod messages;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use dask_operator_scheduler::DEFAULT_PORT;
use dask_operator_scheduler::wire::{self, WireError};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::api::Api;

use addresses::LocalAddresses;
use messages::{Request, Workers};

/// Maximum size of a request in bytes.
const MAX_REQUEST: u64 = 64 << 20;

/// The running server. It stops when this is dropped.
pub(crate) struct Schedulers {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
    _addresses: LocalAddresses,
}

#[derive(Default)]
struct State {
    /// Registered workers by the address of their scheduler.
    workers: HashMap<IpAddr, Workers>,
    /// Numbers of requests by operation.
    requests: BTreeMap<String, usize>,
}

impl Schedulers {
    /// Starts the server for all Services of a cluster. The cluster must have no node with a kube-proxy.
    pub(crate) async fn start(api: &Api) -> Result<Self> {
        let addresses = LocalAddresses::of(&api.service_range().await?)?;
        let listener = TcpListener::bind(("0.0.0.0", DEFAULT_PORT))
            .await
            .with_context(|| format!("port {DEFAULT_PORT} is needed for the simulated schedulers"))?;
        let state = Arc::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            state,
            task,
            _addresses: addresses,
        })
    }

    /// Registers workers with the scheduler at an address, each with its host and its name.
    pub(crate) fn register(&self, scheduler: IpAddr, workers: impl IntoIterator<Item = (String, String)>) {
        let mut state = self.state.lock();
        let registered = state.workers.entry(scheduler).or_default();
        messages::register(registered, workers);
    }

    /// Returns the number of workers that are registered with the scheduler at an address.
    pub(crate) fn registered(&self, scheduler: IpAddr) -> usize {
        self.state.lock().workers.get(&scheduler).map_or(0, Workers::len)
    }

    /// Returns the numbers of requests to all schedulers by operation.
    pub(crate) fn requests(&self) -> BTreeMap<String, usize> {
        self.state.lock().requests.clone()
    }
}

impl Drop for Schedulers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &state).await {
                        eprintln!("a connection to a simulated scheduler failed: {error:#}");
                    }
                });
            }
            Err(error) => eprintln!("the simulated schedulers can't accept a connection: {error}"),
        }
    }
}

/// Answers all requests of a connection.
async fn serve(mut stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    stream.set_nodelay(true)?;
    let scheduler = stream.local_addr()?.ip();
    wire::write_message(&mut stream, &messages::handshake()?).await?;
    wire::read_message(&mut stream, MAX_REQUEST).await?;
    loop {
        let frame = match wire::read_message(&mut stream, MAX_REQUEST).await {
            Err(WireError::Closed) => return Ok(()),
            frame => frame?,
        };
        let request = Request::decode(&frame)?;
        let answer = {
            let mut state = state.lock();
            *state.requests.entry(request.op.clone()).or_default() += 1;
            request.answer(state.workers.entry(scheduler).or_default())?
        };
        wire::write_message(&mut stream, &answer).await?;
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_scheduler::{Address, Client, Scheme};

    use super::*;

    /// The operator's client understands the answers.
    #[tokio::test]
    async fn answers_the_client_of_the_operator() -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut state = State::default();
        let names = ["a", "b", "c"].map(|name| ("10.0.0.7".to_owned(), name.to_owned()));
        messages::register(state.workers.entry(address.ip()).or_default(), names);
        let state = Arc::new(Mutex::new(state));
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));

        let address = Address::new(Scheme::Tcp, "127.0.0.1", address.port());
        let mut client = Client::default().scheduler(address);
        let workers = client.identity().await?.workers;
        let found: Vec<_> = workers
            .iter()
            .map(|worker| (worker.name.as_str(), worker.status.as_str(), worker.processing))
            .collect();
        assert_eq!(
            found,
            [("a", "running", 0), ("b", "running", 0), ("c", "running", 0)]
        );
        assert_eq!(client.adaptive_target(None).await?, Some(3));
        assert_eq!(client.check_idle().await?, None);

        let addresses = [workers[1].address.clone(), "tcp://10.0.0.7:1".to_owned()];
        let retired = client.retire(&addresses).await?;
        assert_eq!(retired.len(), 1);
        assert_eq!(
            (&retired[0].name, &retired[0].address),
            (&"b".to_owned(), &addresses[0])
        );
        assert_eq!(client.identity().await?.workers.len(), 2);
        assert_eq!(state.lock().requests["identity"], 2);
        task.abort();
        Ok(())
    }
}
