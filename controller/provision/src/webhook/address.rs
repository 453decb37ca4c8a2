//! Where a receiver is: its URL, taken apart.
//!
//! `http://` is for loopback addresses only, since orders would otherwise cross a network in the clear; `https://` is for any
//! host, by name or by address.

use hyper::Uri;

/// A URL that is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// As written, for the header `host`.
    pub(super) authority: String,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What the protocol's paths are put after; empty or without a slash at its end.
    pub(super) prefix: String,
    pub(super) is_tls: bool,
}

const HTTPS_PORT: u16 = 443;

impl Address {
    /// Says what is wrong where it is none.
    pub(super) fn of(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("neither http:// nor https://"),
        };
        if uri.query().is_some() {
            return Err("it has a query");
        }
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it names a user, and requests are signed instead");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match (authority.port_u16(), is_tls) {
            (Some(port), _) => port,
            (None, true) => HTTPS_PORT,
            (None, false) => return Err("its host is not an address with a port"),
        };
        if !is_tls {
            let address: std::net::IpAddr = host.parse().map_err(|_| "its host is not an address with a port")?;
            if !address.is_loopback() {
                return Err("its host is not this machine, and http:// is in the clear");
            }
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { authority: authority.to_string(), host, port, prefix, is_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_prefixes() {
        for (url, host, port, prefix, is_tls) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, "", false),
            ("http://[::1]:8080/a/", "::1", 8080, "/a", false),
            ("https://capacity.example", "capacity.example", 443, "", true),
            ("https://[2001:db8::1]:8443/a/b", "2001:db8::1", 8443, "/a/b", true),
        ] {
            let address = Address::of(url).unwrap();
            let taken = (address.host.as_str(), address.port, address.prefix.as_str(), address.is_tls);
            assert_eq!(taken, (host, port, prefix, is_tls), "{url}");
        }
    }
}
