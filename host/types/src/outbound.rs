//! The requests that a handler may make: the rules in its manifest.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The requests to one destination that a handler may make, as
/// `[METHOD,…] [scheme://]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OutboundRule {
    /// In upper case. Empty: every method.
    methods: Vec<String>,
    /// `None`: both.
    scheme: Option<OutboundScheme>,
    /// In lower case: a name, an address, or a name whose first label is `*`.
    host: String,
    /// `None`: the scheme's own.
    port: Option<u16>,
}

/// The domain of the tenant's own functions: `http://digits.modelet.internal` is its function `digits`.
/// `internal` is no name of the public network (reserved by ICANN on 29 July 2024).
pub const FUNCTIONS_DOMAIN: &str = "modelet.internal";

/// How a destination is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundScheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl OutboundScheme {
    /// The port that an address without one means.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Its name in addresses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl OutboundRule {
    /// Whether the rule allows a request. `host` is without brackets if it is an IPv6 address.
    pub fn allows(&self, method: &str, scheme: OutboundScheme, host: &str, port: u16) -> bool {
        let host_fits = match self.host.strip_prefix('*') {
            // With its dot, and for one label or more.
            Some(parent) => {
                host.len() > parent.len()
                    && host.is_char_boundary(host.len() - parent.len())
                    && host[host.len() - parent.len()..].eq_ignore_ascii_case(parent)
            }
            None => host.eq_ignore_ascii_case(&self.host),
        };
        host_fits
            && port == self.port.unwrap_or(scheme.default_port())
            && self.scheme.is_none_or(|allowed| allowed == scheme)
            && (self.methods.is_empty() || self.methods.iter().any(|allowed| allowed == method))
    }
}

impl OutboundRule {
    /// The functions of the tenant that the rule allows: `None` if none, and otherwise one by its name, or `*`
    /// for all.
    pub fn function(&self) -> Option<&str> {
        // A star does not stand before a domain of one label, so there is none that means more.
        self.host.strip_suffix(FUNCTIONS_DOMAIN)?.strip_suffix('.')
    }
}

impl TryFrom<String> for OutboundRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).ok_or_else(|| {
            format!(
                "`{text}` is not a destination: write `[METHOD,…] [scheme://]host[:port]`, such as \
                 `api.example.com`, `https://*.example.com` or `GET,POST http://example.com:8080`"
            )
        })
    }
}

fn parse(text: &str) -> Option<OutboundRule> {
    let (methods, address) = match text.split_once(' ') {
        Some((methods, address)) => (methods.split(',').map(str::to_owned).collect(), address),
        None => (Vec::new(), text),
    };
    let is_method = |method: &String| {
        (1..=20).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    if !methods.iter().all(is_method) {
        return None;
    }
    let (scheme, authority) = match address.split_once("://") {
        Some(("http", authority)) => (Some(OutboundScheme::Http), authority),
        Some(("https", authority)) => (Some(OutboundScheme::Https), authority),
        Some(_) => return None,
        None => (None, address),
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
            (host, port)
        }
        None => {
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            (is_name(host).then_some(host)?, port)
        }
    };
    let port = port.map(str::parse::<u16>).transpose().ok()?;
    if port == Some(0) {
        return None;
    }
    Some(OutboundRule { methods, scheme, host: host.to_ascii_lowercase(), port })
}

fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A whole domain such as `*.com` would be no rule, so two labels stand after the star.
    let labels = match host.strip_prefix("*.") {
        Some(parent) if parent.contains('.') => parent,
        Some(_) => return false,
        None => host,
    };
    host.len() <= 253 && labels.split('.').all(label)
}

impl fmt::Display for OutboundRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join(","))?;
        }
        if let Some(scheme) = self.scheme {
            write!(f, "{}://", scheme.as_str())?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl From<OutboundRule> for String {
    fn from(rule: OutboundRule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::OutboundScheme::{Http, Https};
    use super::*;

    fn rule(text: &str) -> OutboundRule {
        OutboundRule::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn functions_are_told_from_servers() {
        assert_eq!(rule("http://Digits.modelet.internal").function(), Some("digits"));
        assert_eq!(rule("*.modelet.internal").function(), Some("*"));
        assert!(OutboundRule::try_from("*.internal".to_owned()).is_err());
        for none in ["example.com", "*.example.com", "modelet.internal", "digits.modelet.internal.net"] {
            assert_eq!(rule(none).function(), None, "{none}");
        }
    }

    #[test]
    fn a_name_is_enough() {
        let rule = rule("API.example.com");
        assert!(rule.allows("GET", Https, "api.example.com", 443));
        assert!(rule.allows("POST", Http, "Api.Example.com", 80));
        assert!(!rule.allows("GET", Https, "api.example.com", 8443), "a port that is not the scheme's own");
        assert!(!rule.allows("GET", Https, "example.com", 443));
        assert!(!rule.allows("GET", Https, "evil-api.example.com", 443));
        assert!(!rule.allows("GET", Https, "api.example.com.evil.net", 443));
    }

    #[test]
    fn method_scheme_and_port_are_held_to() {
        let rule = rule("GET,HEAD https://example.com:8443");
        assert!(rule.allows("HEAD", Https, "example.com", 8443));
        for (method, scheme, port) in [("POST", Https, 8443), ("GET", Http, 8443), ("GET", Https, 443)] {
            assert!(!rule.allows(method, scheme, "example.com", port), "{method} {scheme:?} {port}");
        }
    }

    #[test]
    fn a_star_stands_for_labels_in_front() {
        let rule = rule("*.example.com");
        assert!(rule.allows("GET", Https, "a.b.example.com", 443));
        assert!(!rule.allows("GET", Https, "example.com", 443));
        assert!(!rule.allows("GET", Https, "badexample.com", 443));
        assert!(!rule.allows("GET", Https, "ü", 443));
    }

    #[test]
    fn addresses_can_be_named() {
        assert!(rule("http://127.0.0.1:80").allows("GET", Http, "127.0.0.1", 80));
        assert!(rule("[::1]:8080").allows("GET", Http, "::1", 8080));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["a.example.com", "GET,POST http://b.example:1", "https://*.c.example", "[2001:db8::1]:2"]
        {
            assert_eq!(rule(text).to_string(), text);
        }
    }

    #[test]
    fn other_things_are_refused() {
        for text in [
            "",
            "a..b",
            "host:99999",
            "host:0x",
            "host:0",
            "ftp://host",
            "get host",
            "GET  host",
            "*",
            "*.com",
            "a.*.b",
            "https://host/path",
            "user@host",
            "[::g]",
            "[::1]x",
        ] {
            assert!(OutboundRule::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
