use std::{collections::VecDeque, fmt, sync::Arc};

use bollard::errors::Error as ApiError;
use hyper::body::Incoming;

use crate::{
    Error, Happening, engine::classify, happening::WORDS, lines::Lines, transport::next_frame,
};

/// What happens to an engine's containers, as it happens; see [`crate::Engine::happenings`].
///
/// What the engine says besides, lines that are no events and lines longer than 1 MiB are passed
/// over: who must not miss anything lists containers from time to time, as [`crate::watch()`] does.
pub struct Happenings {
    /// The engine's address, for messages.
    endpoint: Arc<str>,
    body: Incoming,
    lines: Lines,
    /// Read and not yet told: those of one piece of the stream.
    read: VecDeque<Happening>,
}

impl fmt::Debug for Happenings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Happenings").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Happenings {
    /// Path and query of the request.
    pub(crate) fn path(since: Option<u64>) -> String {
        let words = WORDS.map(|word| format!("\"{word}\"")).join(",");
        let filters = format!(r#"{{"type":["container","network"],"event":[{words}]}}"#);
        let mut path = format!("/events?filters={}", encoded(&filters));
        if let Some(since) = since {
            path += &format!("&since={}.{:09}", since / 1_000_000_000, since % 1_000_000_000);
        }
        path
    }

    pub(crate) fn new(endpoint: Arc<str>, body: Incoming) -> Self {
        Self { endpoint, body, lines: Lines::default(), read: VecDeque::new() }
    }

    /// Waits for what happens next, however long that takes. When it is dropped before, nothing is
    /// lost.
    ///
    /// # Errors
    ///
    /// When the engine cuts the stream, or ends it: there is no other end.
    pub async fn next(&mut self) -> Result<Happening, Error> {
        loop {
            if let Some(happening) = self.read.pop_front() {
                return Ok(happening);
            }
            match next_frame(&mut self.body).await {
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    let read = &mut self.read;
                    self.lines.feed(&piece, |line| read.extend(Happening::read(line)));
                }
                Some(Err(error)) => {
                    return Err(classify(&self.endpoint, ApiError::from(error)));
                }
                None => return Err(Error::StreamEnded { endpoint: self.endpoint.to_string() }),
            }
        }
    }
}

/// As a part of a query: percent signs for all but what may stand there in every URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_one_path() {
        let path = Happenings::path(Some(1_700_000_000_000_000_007));
        assert!(
            path.starts_with("/events?filters=%7B%22type%22%3A%5B%22container%22%2C"),
            "{path}"
        );
        assert!(path.contains("%22health_status%3A%20healthy%22"), "{path}");
        assert!(path.ends_with("&since=1700000000.000000007"), "{path}");
        assert!(path.parse::<hyper::Uri>().is_ok());
        assert!(!Happenings::path(None).contains("since"));
    }
}
