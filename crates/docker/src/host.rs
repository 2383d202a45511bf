use std::{fmt, path::PathBuf};

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket of this machine.
    Unix(PathBuf),
    /// TCP, plain or with TLS.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// The socket of another machine, through ssh.
    Ssh {
        /// Who logs in; ssh's own choice when `None`.
        user: Option<String>,
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port; ssh's own choice when `None`.
        port: Option<u16>,
        /// The engine's socket over there; its default when `None`.
        socket: Option<PathBuf>,
    },
}

impl Host {
    /// The engine's default socket.
    pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
    /// Port of an engine without TLS.
    pub const PLAIN_PORT: u16 = 2375;
    /// Port of an engine with TLS.
    pub const TLS_PORT: u16 = 2376;

    /// Where docker looks when nobody says anything: the default socket, or TLS on this machine
    /// where `--tls` asks for it.
    pub(crate) fn default_for(tls: bool) -> Self {
        if tls {
            Self::Tcp { host: "localhost".to_owned(), port: Self::TLS_PORT }
        } else {
            Self::Unix(PathBuf::from(Self::DEFAULT_SOCKET))
        }
    }

    /// `host:port` of a URL; empty for a unix socket.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } => format!("{}:{port}", bracketed(host)),
            Self::Ssh { host, .. } => bracketed(host),
            Self::Unix(_) => String::new(),
        }
    }

    /// Reads an address as docker's `-H` does: a missing scheme is `tcp`, missing parts have
    /// defaults.
    ///
    /// # Errors
    ///
    /// What is wrong with it. `npipe` (Windows) and `fd` (the engine's own side) are refused.
    ///
    /// Source: `opts/hosts.go` of docker/cli. We take `tcp://[::1]` without a port as well, which
    /// docker refuses.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        if rest.contains("://") {
            return Err("it has two schemes");
        }
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::default_for(false)),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" => {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                if rest.contains('/') {
                    return Err("a path behind the port is not supported");
                }
                let (host, port) = host_and_port(rest)?;
                Ok(Self::Tcp {
                    host: if host.is_empty() { "localhost".to_owned() } else { host },
                    port: port.unwrap_or(Self::PLAIN_PORT),
                })
            }
            "ssh" => {
                let (authority, socket) = match rest.find('/') {
                    Some(slash) => rest.split_at(slash),
                    None => (rest, ""),
                };
                let (user, address) = match authority.rsplit_once('@') {
                    Some((user, address)) => (Some(user), address),
                    None => (None, authority),
                };
                if user.is_some_and(|user| user.contains(':')) {
                    return Err("a password in the address is not supported");
                }
                let (host, port) = host_and_port(address)?;
                // ssh would take a leading dash for an option of its own.
                if host.is_empty() || host.starts_with('-') {
                    return Err("it names no machine");
                }
                if user.is_some_and(|user| user.is_empty() || user.starts_with('-')) {
                    return Err("it names no user before the @");
                }
                Ok(Self::Ssh {
                    user: user.map(str::to_owned),
                    host,
                    port,
                    socket: (socket.len() > 1).then(|| PathBuf::from(socket)),
                })
            }
            "npipe" => Err("named pipes exist on Windows only"),
            _ => Err("expected unix://, tcp:// or ssh://"),
        }
    }
}

/// Splits `host[:port]`, `[v6][:port]`; what is missing is empty or `None`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, port),
            None if rest.is_empty() => (host, ""),
            None => return Err("something stands between the bracket and the port"),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address needs brackets");
            }
            Some(parts) => parts,
            None => (text, ""),
        }
    };
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@[]".contains(c)) {
        return Err("the name of the machine has a character that no name has");
    }
    let port = match port {
        "" => None,
        digits => match digits.parse() {
            Ok(0) | Err(_) => return Err("a port is a number between 1 and 65535"),
            Ok(port) => Some(port),
        },
    };
    Ok((host.to_owned(), port))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{}:{port}", bracketed(host)),
            Self::Ssh { user, host, port, socket } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                f.write_str(&bracketed(host))?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                match socket {
                    Some(socket) => write!(f, "{}", socket.display()),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        prelude::{any, proptest},
        prop_assert_eq,
    };

    use super::*;

    /// What docker CLI 28.2.2 makes of the same words, where it was asked.
    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("unix://", "unix:///var/run/docker.sock"),
            ("unix:///run/user/1000/docker.sock", "unix:///run/user/1000/docker.sock"),
            ("  unix:///a  ", "unix:///a"),
            ("tcp://", "tcp://localhost:2375"),
            ("127.0.0.1", "tcp://127.0.0.1:2375"),
            (":77", "tcp://localhost:77"),
            ("build:2376", "tcp://build:2376"),
            ("tcp://[::1]:77", "tcp://[::1]:77"),
            ("tcp://[fe80::1]", "tcp://[fe80::1]:2375"),
            ("tcp://build:77/", "tcp://build:77"),
            ("ssh://build", "ssh://build"),
            ("ssh://me@build:2222", "ssh://me@build:2222"),
            ("ssh://me@build/run/d.sock", "ssh://me@build/run/d.sock"),
            ("ssh://build/", "ssh://build"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "http://x",
            "fd://",
            "npipe:////./pipe/docker_engine",
            "tcp://unix:///x",
            "tcp://a:b",
            "tcp://a:0",
            "tcp://a:65536",
            "tcp://::1",
            "tcp://[::1",
            "tcp://[::1]x",
            "tcp://a b",
            "tcp://a/path",
            "ssh://",
            "ssh://me@",
            "ssh://@build",
            "ssh://me:secret@build",
            "ssh://-oProxyCommand=x",
            "ssh://-l@build",
        ] {
            assert!(Host::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back(
            text in r"(unix://|tcp://|ssh://|)(u@)?(\[[0-9a-f:]{0,4}\]|[a-z/ .-]{0,4})(:[0-9]{0,5})?(/[a-z /]{0,3})?",
        ) {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
            }
        }

        #[test]
        fn any_words_are_survived(text in any::<String>()) {
            let _ = Host::parse(&text);
        }
    }
}
