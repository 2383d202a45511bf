//! Captures begin: their rings become lanes, and they are waited for.

use model::Interface;
use sys::{
    packet::PacketSocket,
    poll::Trigger,
    ring::{Geometry, Ring},
};

use super::{KEY_RING, KEY_SOURCE, Reader};
use crate::{
    Attachment, CaptureId, Error, Event, Means, Sockets, clock, feed::Feed, lane::Lane,
    source::Source,
};

impl Reader {
    pub(super) fn attach_announced(
        &mut self,
        attachment: Attachment,
        found: Option<Vec<Interface>>,
    ) {
        let (id, follows) = (attachment.id, attachment.follows);
        let Some(later) = self.announced.remove(&id) else { return };
        // What was announced before the end belongs to what is still written.
        let is_late = self.desk.ending.as_ref().is_some_and(|ending| !ending.writes_the_rest());
        let attached = if is_late { Err(Error::Ended) } else { self.attach(attachment, found) };
        match attached {
            Ok(()) => {
                if self.stopping {
                    // What it has by now is what was asked for before the end.
                    self.refuse_all();
                }
            }
            Err(error) => {
                // Nobody else takes its place.
                if let Some(follows) = follows {
                    self.desk.forget(follows);
                }
                self.desk.tell(Event::NotAttached { id, error });
            }
        }
        for command in later {
            self.obey(command);
        }
    }

    /// What fails leaves nothing behind: descriptors that are closed are not waited for, and
    /// outputs are made when nothing can fail any more.
    pub(super) fn attach(
        &mut self,
        mut attachment: Attachment,
        found: Option<Vec<Interface>>,
    ) -> Result<(), Error> {
        let index = self.desk.next_seat();
        let follows = attachment.follows;
        let mut rings = Vec::new();
        if let Some(mut hold) = attachment.hold.take() {
            self.holds.release(hold.id());
            rings = hold.take_rings().unwrap_or_default();
        }
        let mut feeds = Vec::new();
        match &attachment.means {
            Means::Here(Sockets { packet, geometry, .. }) => {
                for (number, (_, socket)) in packet.iter().enumerate() {
                    if number == rings.len() {
                        rings.push(Ring::map(socket, *geometry)?);
                    }
                    self.poller.add(socket, KEY_RING, Trigger::Edge)?;
                }
                feeds.extend(rings.into_iter().map(Feed::Ring));
            }
            Means::Far(arrivals) => {
                arrivals.listen(self.waker.clone());
                feeds.push(Feed::far(arrivals.clone()));
            }
        }
        let mut source = Source::new(attachment, clock::now())?;
        source.set_found(found);
        if let Some(changes) = source.changes() {
            self.poller.add(changes, KEY_SOURCE + index as u64, Trigger::Level)?;
        }
        self.lanes.extend(feeds.into_iter().map(|feed| Lane::new(feed, index)));
        self.desk.add(source, follows);
        Ok(())
    }

    pub(super) fn extend(
        &mut self,
        id: CaptureId,
        sockets: Vec<(Option<u32>, PacketSocket)>,
        geometry: Geometry,
    ) -> Result<(), Error> {
        let Some(index) = self.desk.find(id) else { return Ok(()) };
        let mut rings = Vec::new();
        for (_, socket) in &sockets {
            rings.push(Ring::map(socket, geometry)?);
            self.poller.add(socket, KEY_RING, Trigger::Edge)?;
        }
        if self.desk.sources[index].extend(sockets) {
            let feeds = rings.into_iter().map(Feed::Ring);
            self.lanes.extend(feeds.map(|feed| Lane::new(feed, index)));
        }
        Ok(())
    }
}
