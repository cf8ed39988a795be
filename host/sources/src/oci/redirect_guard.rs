//! Restrictions on the locations to which a registry may redirect (protection against server-side request forgery).
//!
//! The responses of a registry determine the URLs of further requests, for example for layers and tokens. The operator can
//! reach networks that tenants can't, and must not send requests there on their behalf. Locations outside of the registry
//! must therefore use TLS, and must not be in an internal network unless the registry is in the same one.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Maximum number of concurrent DNS lookups for all registries together. A lookup can't be cancelled: its thread is blocked
/// until the name servers have answered or timed out, even if its caller no longer waits.
pub const LOOKUPS: usize = 8;

static LOOKUP_PERMITS: Semaphore = Semaphore::const_new(LOOKUPS);

/// Network of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    /// Public network.
    Public,
    /// Internal network.
    Private,
    /// This machine.
    Loopback,
    /// Addresses that no registry uses, for example those of cloud providers' metadata services.
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
                // An address behind a NAT64 translator is in the network of its IPv4 address.
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

/// Guard that checks the locations to which a registry redirects. It is also the client's DNS resolver, so that the checked
/// addresses are those to which the client connects.
#[derive(Clone, Debug)]
pub(super) struct RedirectGuard {
    registry: Url,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Networks of the registry itself.
    registry_networks: BTreeSet<Network>,
    /// Hosts to which the registry has redirected.
    redirect_hosts: HashSet<String>,
}

impl RedirectGuard {
    /// Creates a guard for the registry at this URL.
    pub(super) fn new(registry: Url) -> Self {
        let state = State {
            registry_networks: ip_address(&registry).map(Network::of).into_iter().collect(),
            redirect_hosts: HashSet::new(),
        };
        Self {
            registry,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns whether a URL is at the registry itself. Only such URLs receive credentials.
    pub(super) fn is_registry(&self, url: &Url) -> bool {
        url.origin() == self.registry.origin()
    }

    /// Checks that the registry may redirect to this URL. The error is the reason why it may not.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        if self.is_registry(url) {
            return Ok(());
        }
        let Some(host) = url.host_str() else {
            return Err(format!("a URL without a host, {}:", url.scheme()));
        };
        if url.scheme() != "https" {
            return Err(format!("{host} over {}, but https is required", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{host} with a user name or password in the URL"));
        }
        if Some(host) == self.registry.host_str() {
            return Ok(());
        }
        match ip_address(url) {
            Some(address) => self.state().check_address(host, address),
            None => {
                self.state().redirect_hosts.insert(host.to_owned());
                Ok(())
            }
        }
    }

    /// Checks the addresses to which a host name was resolved, if the registry has redirected to that host. Records the
    /// networks of the registry's own addresses.
    fn check_resolved(&self, host: &str, addresses: &[SocketAddr]) -> Result<(), String> {
        let mut state = self.state();
        if Some(host) == self.registry.host_str() {
            let networks = addresses.iter().map(|address| Network::of(address.ip()));
            state.registry_networks.extend(networks);
            return Ok(());
        }
        if !state.redirect_hosts.contains(host) {
            return Ok(());
        }
        addresses
            .iter()
            .try_for_each(|address| state.check_address(host, address.ip()))
    }
}

impl State {
    /// Checks that the registry may redirect to this address of `host`.
    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), String> {
        let network = Network::of(address);
        let is_same_network = || {
            self.registry_networks
                .iter()
                .all(|of_registry| *of_registry == network)
        };
        let is_allowed = match network {
            Network::Public => true,
            Network::Private | Network::Loopback => !self.registry_networks.is_empty() && is_same_network(),
            Network::Special => false,
        };
        if is_allowed {
            return Ok(());
        }
        Err(format!(
            "{host} ({address}) is in an internal network, and the registry is not"
        ))
    }
}

impl Resolve for RedirectGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = look_up(name.as_str().to_owned()).await?;
            guard.check_resolved(name.as_str(), &addresses)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Looks up the addresses of a name. Waits for a permit if too many lookups run.
async fn look_up(name: String) -> io::Result<Vec<SocketAddr>> {
    // The semaphore is never closed, so this can't fail. The lookup holds its permit until it ends, even if its caller no
    // longer waits.
    let permit = LOOKUP_PERMITS.acquire().await;
    let found = spawn_blocking(move || -> io::Result<Vec<_>> {
        let _permit = permit;
        Ok((name.as_str(), 0).to_socket_addrs()?.collect())
    });
    found.await?
}

/// Returns the host of a URL if it is an IP address.
fn ip_address(url: &Url) -> Option<IpAddr> {
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
    fn checks_redirects(#[case] registry: &str, #[case] to: &str, #[case] is_allowed: bool) {
        let checked = RedirectGuard::new(url(registry)).check(&url(to));
        assert_eq!(checked.is_ok(), is_allowed, "{checked:?}");
    }

    #[tokio::test]
    async fn limits_the_number_of_concurrent_lookups() -> Result<(), Box<dyn std::error::Error>> {
        let all = LOOKUP_PERMITS.acquire_many(LOOKUPS as u32).await?;
        let one = tokio::spawn(look_up("127.0.0.1".to_owned()));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!one.is_finished());
        drop(all);
        let expected: SocketAddr = "127.0.0.1:0".parse()?;
        assert_eq!(one.await??, [expected]);
        Ok(())
    }

    #[test]
    fn checks_the_resolved_addresses_of_names() {
        let [public, private, metadata] =
            ["93.184.215.14:443", "10.0.0.6:443", "169.254.169.254:443"].map(|address| {
                let address: SocketAddr = address.parse().unwrap_or_else(|error| panic!("{error}"));
                [address]
            });
        let guard = RedirectGuard::new(url("https://registry.example/"));
        assert_eq!(guard.check(&url("https://storage.example/blob")), Ok(()));
        // A host to which the registry did not redirect, for example a proxy, is not checked.
        assert_eq!(guard.check_resolved("proxy.example", &private), Ok(()));
        assert_eq!(guard.check_resolved("storage.example", &public), Ok(()));
        assert!(guard.check_resolved("storage.example", &private).is_err());
        assert_eq!(guard.check_resolved("registry.example", &private), Ok(()));
        assert_eq!(guard.check_resolved("storage.example", &private), Ok(()));
        assert!(guard.check_resolved("storage.example", &metadata).is_err());
        // A registry that resolves to both public and private addresses does not count as internal.
        assert_eq!(guard.check_resolved("registry.example", &public), Ok(()));
        assert!(guard.check_resolved("storage.example", &private).is_err());
    }
}
