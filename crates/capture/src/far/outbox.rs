use wire::{Kind, PREAMBLE, envelope};

/// Messages that are still to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// With what stands before everything else.
    pub(super) fn begin() -> Self {
        Self { bytes: PREAMBLE.to_vec(), written: 0 }
    }

    /// Adds a message.
    ///
    /// # Errors
    ///
    /// [`wire::Error::TooLong`].
    pub(super) fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<(), wire::Error> {
        self.bytes.extend_from_slice(&envelope(kind, payload)?);
        self.bytes.extend_from_slice(payload);
        Ok(())
    }

    /// What is to be written.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// So much of it was.
    pub(super) fn written(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written >= self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}
