//! Addresses of schedulers: `tcp://10.0.0.7:8786`, `tls://[fd00::7]:8786`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The transport that connects to a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain TCP: `tcp://`.
    Tcp,
    /// Mutual TLS: `tls://`.
    Tls,
}

/// The address of a scheduler's comm port.
///
/// The host is a name or an IP address. An IP address is used without a DNS
/// lookup. The port defaults to [`DEFAULT_PORT`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// The port that a scheduler listens on by default.
pub const DEFAULT_PORT: u16 = 8786;

/// A text that is not a scheduler address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not the address of a scheduler: {reason}; write for example tcp://10.0.0.7:8786 or tls://[fd00::7]:8786"
)]
pub struct InvalidAddress {
    /// The text that was parsed.
    pub text: String,
    /// The reason why the text is not an address.
    pub reason: &'static str,
}

impl Address {
    /// Returns the address with these parts. An IPv6 host has no brackets.
    pub fn new(scheme: Scheme, host: impl Into<String>, port: u16) -> Self {
        Self {
            scheme,
            host: host.into(),
            port,
        }
    }

    /// Returns the transport.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host as an IP address, or `None` if the host is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
        };
        if self.host.contains(':') {
            write!(formatter, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress {
            text: text.to_owned(),
            reason,
        };
        let (scheme, rest) = text.split_once("://").ok_or(invalid("it has no scheme"))?;
        let scheme = match scheme {
            "tcp" => Scheme::Tcp,
            "tls" => Scheme::Tls,
            _ => return Err(invalid("its scheme is neither tcp nor tls")),
        };
        let (host, port) = split(rest).map_err(invalid)?;
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: port.unwrap_or(DEFAULT_PORT),
        })
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port` into the host without
/// brackets and the port, if there is one.
///
/// `http::uri::Authority` would do this too, but its errors do not name the mistake.
///
/// # Errors
///
/// Returns the reason why the text has none of these forms.
pub(crate) fn split(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        host.parse::<Ipv6Addr>()
            .map_err(|_| "between the brackets is no IPv6 address")?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':').ok_or("after the bracket is no port")?),
        };
        (host, port)
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address needs brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("it names no host");
    }
    if host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?' | '#')) {
        return Err("its host has characters that no host has");
    }
    match port.map(str::parse::<u16>) {
        None => Ok((host, None)),
        Some(Ok(port)) if port > 0 => Ok((host, Some(port))),
        Some(_) => Err("its port is no number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tcp://10.0.0.7:8786", Scheme::Tcp, "10.0.0.7", 8786)]
    #[case("tls://scheduler.dask.svc:9000", Scheme::Tls, "scheduler.dask.svc", 9000)]
    #[case("tcp://[fd00::7]:1", Scheme::Tcp, "fd00::7", 1)]
    #[case("tls://[::1]", Scheme::Tls, "::1", 8786)]
    #[case("tcp://localhost", Scheme::Tcp, "localhost", 8786)]
    fn parses_valid_addresses(
        #[case] text: &str,
        #[case] scheme: Scheme,
        #[case] host: &str,
        #[case] port: u16,
    ) {
        let address: Address = text.parse().expect("valid address");
        assert_eq!(address, Address::new(scheme, host, port));
        assert_eq!(address.to_string().parse::<Address>().as_ref(), Ok(&address));
    }

    #[rstest]
    #[case("10.0.0.7:8786", "it has no scheme")]
    #[case("ucx://10.0.0.7:8786", "its scheme is neither tcp nor tls")]
    #[case("tcp://fd00::7:8786", "an IPv6 address needs brackets")]
    #[case("tcp://[fd00::7:8786", "the bracket is not closed")]
    #[case("tcp://[host]:8786", "between the brackets is no IPv6 address")]
    #[case("tcp://[::1]8786", "after the bracket is no port")]
    #[case("tcp://:8786", "it names no host")]
    #[case("tcp://host:0", "its port is no number from 1 to 65535")]
    #[case("tcp://host:65536", "its port is no number from 1 to 65535")]
    #[case("tcp://host:", "its port is no number from 1 to 65535")]
    #[case("tcp://host/path", "its host has characters that no host has")]
    fn rejects_invalid_addresses(#[case] text: &str, #[case] reason: &str) {
        assert_eq!(text.parse::<Address>().map_err(|error| error.reason), Err(reason));
    }
}
