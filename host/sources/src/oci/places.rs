//! Where a registry may send whoever asks it.
//!
//! What a registry answers decides where the next request goes: where a layer is, where a token is to be had. The operator is in
//! a place that others are not, and must not be made to ask on their behalf: what it is sent to is reached over TLS, and is no
//! machine of the networks inside unless the registry is there too.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// How many names are looked up at the same time, for all registries together. A lookup can't be ended: its thread is busy until
/// name servers have answered or have had their time, whoever waits for it.
pub const LOOKUPS: usize = 8;

static LOOKING_UP: Semaphore = Semaphore::const_new(LOOKUPS);

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    /// Anybody's.
    Public,
    /// A machine's of a network inside.
    Private,
    /// This machine's.
    Loopback,
    /// Nobody's that a registry has to do with, as those of cloud providers' metadata.
    Special,
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) if address.is_loopback() => Self::Loopback,
            IpAddr::V6(address) if address.is_unique_local() => Self::Private,
            IpAddr::V6(address) => {
                let is_special =
                    address.is_unspecified() || address.is_multicast() || address.is_unicast_link_local();
                // An IPv4 address behind a translator is what it is.
                match (is_special, address.segments()) {
                    (true, _) => Self::Special,
                    (false, [0x64, 0xff9b, 0, 0, 0, 0, high, low]) => {
                        Self::of_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
                    }
                    (false, _) => Self::Public,
                }
            }
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, ..] = address.octets();
        let is_shared = first == 100 && (64..128).contains(&second);
        match address {
            address if address.is_loopback() => Self::Loopback,
            address if address.is_private() || is_shared => Self::Private,
            address if address.is_link_local() || first == 0 || first >= 224 => Self::Special,
            _ => Self::Public,
        }
    }
}

/// Where a registry may send whoever asks it. Names are resolved here, so that what is allowed is what is connected to.
#[derive(Clone, Debug)]
pub(super) struct Places {
    registry: Url,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The networks that the registry itself is in.
    registry: BTreeSet<Network>,
    /// Hosts that it has sent to.
    sent_to: HashSet<String>,
}

impl Places {
    /// Those of the registry at this URL.
    pub(super) fn of(registry: Url) -> Self {
        let state = State {
            registry: address(&registry).map(Network::of).into_iter().collect(),
            sent_to: HashSet::new(),
        };
        Self {
            registry,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the registry: credentials are for it alone.
    pub(super) fn is_registry(&self, url: &Url) -> bool {
        url.origin() == self.registry.origin()
    }

    /// Makes sure that the registry may send to this place. The error says why it may not.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        if self.is_registry(url) {
            return Ok(());
        }
        let Some(host) = url.host_str() else {
            return Err(format!("a place without a host, {}:", url.scheme()));
        };
        if url.scheme() != "https" {
            return Err(format!("{host} over {}, where https is wanted", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{host} with a name or password in the address"));
        }
        if Some(host) == self.registry.host_str() {
            return Ok(());
        }
        match address(url) {
            Some(address) => self.state().reaches(host, address),
            None => {
                self.state().sent_to.insert(host.to_owned());
                Ok(())
            }
        }
    }

    /// Takes in where a name leads, and makes sure that what the registry has sent to may be reached.
    fn leads(&self, host: &str, addresses: &[SocketAddr]) -> Result<(), String> {
        let mut state = self.state();
        if Some(host) == self.registry.host_str() {
            let networks = addresses.iter().map(|address| Network::of(address.ip()));
            state.registry.extend(networks);
            return Ok(());
        }
        if !state.sent_to.contains(host) {
            return Ok(());
        }
        addresses
            .iter()
            .try_for_each(|address| state.reaches(host, address.ip()))
    }
}

impl State {
    /// Makes sure that the registry may send to this address, which `host` has.
    fn reaches(&self, host: &str, address: IpAddr) -> Result<(), String> {
        let network = Network::of(address);
        let is_beside = || self.registry.iter().all(|of_registry| *of_registry == network);
        let may = match network {
            Network::Public => true,
            Network::Private | Network::Loopback => !self.registry.is_empty() && is_beside(),
            Network::Special => false,
        };
        if may {
            return Ok(());
        }
        Err(format!(
            "{host} ({address}) is inside of the network, and the registry is not"
        ))
    }
}

impl Resolve for Places {
    fn resolve(&self, name: Name) -> Resolving {
        let places = self.clone();
        Box::pin(async move {
            let addresses = look_up(name.as_str().to_owned()).await?;
            places.leads(name.as_str(), &addresses)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The addresses of a name.
async fn look_up(name: String) -> io::Result<Vec<SocketAddr>> {
    // The semaphore is never closed. What has begun keeps its place until it has ended, even if nobody waits any more.
    let place = LOOKING_UP.acquire().await;
    let found = spawn_blocking(move || -> io::Result<Vec<_>> {
        let _place = place;
        Ok((name.as_str(), 0).to_socket_addrs()?.collect())
    });
    found.await?
}

/// The host, where it is an IP address.
fn address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[rstest]
    #[case::itself(
        "http://registry.example:5000/",
        "http://registry.example:5000/v2/blobs",
        true
    )]
    #[case::without_tls("http://registry.example:5000/", "http://storage.example/blob", false)]
    #[case::downgrade("https://registry.example/", "http://registry.example/blob", false)]
    #[case::another_port("https://registry.example/", "https://registry.example:8443/blob", true)]
    #[case::storage("https://registry.example/", "https://storage.example/blob", true)]
    #[case::credentials("https://registry.example/", "https://a:b@storage.example/blob", false)]
    #[case::file("https://registry.example/", "file:///etc/passwd", false)]
    #[case::public("https://registry.example/", "https://93.184.215.14/blob", true)]
    #[case::metadata("https://registry.example/", "https://169.254.169.254/latest", false)]
    #[case::in_decimals("https://registry.example/", "https://2852039166/latest", false)]
    #[case::private("https://registry.example/", "https://10.96.0.1/", false)]
    #[case::pods("https://registry.example/", "https://100.64.0.1/", false)]
    #[case::loopback("https://registry.example/", "https://127.0.0.1:8080/", false)]
    #[case::any_address("https://registry.example/", "https://0.0.0.0:8080/", false)]
    #[case::ipv6_loopback("https://registry.example/", "https://[::1]/", false)]
    #[case::mapped("https://registry.example/", "https://[::ffff:10.0.0.1]/", false)]
    #[case::translated("https://registry.example/", "https://[64:ff9b::a9fe:a9fe]/", false)]
    #[case::unique_local("https://registry.example/", "https://[fd00::1]/", false)]
    #[case::link_local("https://registry.example/", "https://[fe80::1]/", false)]
    #[case::beside_it("https://10.0.0.5/", "https://10.0.0.6:9000/blob", true)]
    #[case::not_beside_it("https://10.0.0.5/", "https://127.0.0.1/", false)]
    #[case::on_this_machine("http://127.0.0.1:5000/", "https://127.0.0.1:9000/blob", true)]
    #[case::metadata_again("http://127.0.0.1:5000/", "https://169.254.169.254/", false)]
    fn where_a_registry_may_send(#[case] registry: &str, #[case] to: &str, #[case] may: bool) {
        let checked = Places::of(url(registry)).check(&url(to));
        assert_eq!(checked.is_ok(), may, "{checked:?}");
    }

    #[tokio::test]
    async fn only_so_many_names_are_looked_up_at_once() -> Result<(), Box<dyn std::error::Error>> {
        let all = LOOKING_UP.acquire_many(LOOKUPS as u32).await?;
        let one = tokio::spawn(look_up("127.0.0.1".to_owned()));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!one.is_finished());
        drop(all);
        let expected: SocketAddr = "127.0.0.1:0".parse()?;
        assert_eq!(one.await??, [expected]);
        Ok(())
    }

    #[test]
    fn names_are_judged_by_where_they_lead() {
        let [public, private, metadata] =
            ["93.184.215.14:443", "10.0.0.6:443", "169.254.169.254:443"].map(|address| {
                let address: SocketAddr = address.parse().unwrap_or_else(|error| panic!("{error}"));
                [address]
            });
        let places = Places::of(url("https://registry.example/"));
        assert_eq!(places.check(&url("https://storage.example/blob")), Ok(()));
        // Of a name that it did not send to, a proxy's for instance, nothing is asked.
        assert_eq!(places.leads("proxy.example", &private), Ok(()));
        assert_eq!(places.leads("storage.example", &public), Ok(()));
        assert!(places.leads("storage.example", &private).is_err());
        assert_eq!(places.leads("registry.example", &private), Ok(()));
        assert_eq!(places.leads("storage.example", &private), Ok(()));
        assert!(places.leads("storage.example", &metadata).is_err());
        // Its name leads elsewhere from one time to the next: it is not believed to be inside.
        assert_eq!(places.leads("registry.example", &public), Ok(()));
        assert!(places.leads("storage.example", &private).is_err());
    }
}
