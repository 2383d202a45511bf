use wire::{Attach, Attached, Notice, Report};

use super::{FarSide, key_of};
use crate::{error::Error, opening, station::Station};

/// The most namespaces that are opened in one go: then rings are read again.
const TOGETHER: usize = 16;
/// The most bytes of all rings.
const MAX_RINGS: usize = 1 << 30;

impl FarSide {
    /// Opens those that were asked for in one way, all at once, because each is waiting for the
    /// kernel.
    pub(super) fn open_some(&mut self) -> Result<(), Error> {
        let Some(first) = self.attaches.first() else { return Ok(()) };
        let alike = self.attaches.iter().take(TOGETHER).take_while(|it| it.spec == first.spec);
        let mut these: Vec<_> = self.attaches.drain(..alike.count()).collect();
        let Some(Attach { spec, .. }) = these.first() else { return Ok(()) };
        let spec = opening::spec(spec.clone());
        let used: usize = self.stations.values().map(Station::ring_bytes).sum();
        let fit = MAX_RINGS.saturating_sub(used) / spec.geometry.bytes().max(1);
        for attach in these.drain(fit.min(these.len())..) {
            let text = format!("the rings of all captures would have more than {MAX_RINGS} bytes");
            self.line.tell(&opening::refused_here(attach.capture, text))?;
        }
        if these.is_empty() {
            return Ok(());
        }
        let (captures, places): (Vec<_>, Vec<_>) =
            these.into_iter().map(|it| (it.capture, opening::place(it.place))).unzip();
        match self.opener.open_all(places.clone(), spec.clone()) {
            Ok(all) => {
                for ((capture, place), opened) in captures.into_iter().zip(places).zip(all) {
                    match opened {
                        Ok(opened) => self.attach(capture, (place, spec.clone()), opened)?,
                        Err(error) => self.line.tell(&opening::refused(capture, &error))?,
                    }
                }
            }
            Err(error) => {
                for capture in captures {
                    self.line.tell(&opening::refused(capture, &error))?;
                }
            }
        }
        Ok(())
    }

    fn attach(
        &mut self,
        capture: u32,
        asked: (opener::Place, opener::Spec),
        opened: opener::Opened,
    ) -> Result<(), Error> {
        let (since, program_refused) = (opened.attached, opened.program_refused);
        let (created, frames_before) = (opened.created, opened.frames_before);
        let missing = opened.missing.clone();
        let key = |concern| key_of(capture, concern);
        let station = match Station::new(capture, asked, opened, &self.poller, key) {
            Ok(station) => station,
            Err(error) => {
                let text = error.to_string();
                return self.line.tell(&opening::refused_here(capture, text));
            }
        };
        let attached = Attached {
            capture,
            netns: station.netns(),
            interfaces: station.interfaces().to_vec(),
            program_refused,
            since,
            missing,
            created,
            frames_before,
        };
        self.stations.insert(capture, station);
        match self.line.tell(&Report::Attached(attached.clone())) {
            Err(Error::Wire(wire::Error::TooLong { .. })) => {
                let interfaces = Vec::new();
                self.line.tell(&Report::Attached(Attached { interfaces, ..attached }))?;
                self.too_long(capture)?;
            }
            other => other?,
        }
        Ok(())
    }

    pub(super) fn too_long(&mut self, capture: u32) -> Result<(), Error> {
        let text = "its interfaces are too many to be told".to_owned();
        self.line.tell(&Report::Notice(Notice { capture: Some(capture), text }))
    }
}
