use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// A TCP connection: both of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// This machine's end.
    pub here: SocketAddr,
    /// The other one.
    pub there: SocketAddr,
}

impl Connection {
    /// Between these ends; `None` where no frame can have both addresses. An IPv4 address that a
    /// socket for IPv6 has (`::ffff:10.7.0.1`, RFC 4291) is the IPv4 address that is in the frames.
    #[must_use]
    pub fn between(here: SocketAddr, there: SocketAddr) -> Option<Self> {
        let [here, there] =
            [here, there].map(|end| SocketAddr::new(end.ip().to_canonical(), end.port()));
        let alike = matches!(
            (here.ip(), there.ip()),
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_))
        );
        alike.then_some(Self { here, there })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TCP between {} and {}", self.here, self.there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_as_frames_have_them() {
        let between = |here: &str, there: &str| {
            let text = Connection::between(here.parse().unwrap(), there.parse().unwrap());
            text.map(|connection| connection.to_string())
        };
        let expected = "TCP between 10.7.9.1:40000 and 10.7.9.2:22".to_owned();
        assert_eq!(between("[::ffff:10.7.9.1]:40000", "10.7.9.2:22"), Some(expected));
        let expected = "TCP between [fd00::1]:5 and [fd00::2]:22".to_owned();
        assert_eq!(between("[fd00::1]:5", "[fd00::2]:22"), Some(expected));
        assert_eq!(between("[fd00::1]:5", "10.7.9.2:22"), None);
    }
}
