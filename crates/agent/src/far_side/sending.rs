use std::time::{Duration, Instant};

use wire::{BATCH, Counts, HEARTBEAT, Interfaces, Report, Settled};

use super::{FarSide, KEY_RING, SETTLE_RARELY, Speech};
use crate::error::Error;

/// The most batches that are sent in one go: then rings are read again.
const BATCHES: usize = 8;
/// Settled times are told less often while the link is behind: from so many times the linger
/// on that frames wait, every so many times the linger.
const BEHIND: (u32, u32) = (4, 10);

impl FarSide {
    /// How often those hear how far they are settled who wait for it. Of many captures that is much to
    /// be told, and where frames wait for the link it is at their cost.
    pub(super) fn settle_every(&self) -> Duration {
        let (after, times) = BEHIND;
        let is_behind = self.waiting.is_some_and(|it| it.elapsed() > after * self.linger);
        if is_behind { times * self.linger } else { self.linger }
    }

    /// Sends whatever there is, as far as there is room for it. Nothing is put into the queue that
    /// may still change: frames that wait can be dropped here, and counts go out as they are then.
    pub(super) fn send(&mut self, now: u64) -> Result<(), Error> {
        if self.echo.speech() == Speech::Silence {
            self.line.flush()?;
            return Ok(());
        }
        if self.spoke.elapsed() >= HEARTBEAT {
            self.spoke = Instant::now();
            if self.greeted {
                self.line.tell(&Report::Heartbeat)?;
            }
        }
        self.has_more = false;
        let mut sent = 0;
        while self.line.flush()? {
            self.tell_news()?;
            if sent == BATCHES {
                self.has_more = true;
                break;
            }
            let Some(batch) = self.next_batch() else { break };
            sent += 1;
            self.echo.sent(batch.len() as u64);
            self.line.send(&batch)?;
            self.tell_settled(now)?;
        }
        if self.line.is_idle() {
            self.tell_settled(now)?;
        }
        self.line.flush()?;
        Ok(())
    }

    fn next_batch(&mut self) -> Option<Vec<u8>> {
        let is_due = self.waiting.is_some_and(|waiting| waiting.elapsed() >= self.linger);
        let is_full = self.outgoing.waiting() >= BATCH;
        let may_be_sent = self.echo.speech() == Speech::Free;
        if !may_be_sent || !is_due && !is_full && self.ending.is_none() {
            return None;
        }
        let batch = self.outgoing.next_batch(self.began.elapsed());
        if self.outgoing.waiting() == 0 {
            self.waiting = None;
        }
        batch
    }

    fn tell_news(&mut self) -> Result<(), Error> {
        let mut too_long = Vec::new();
        for (capture, station) in &mut self.stations {
            let Some(interfaces) = station.look() else { continue };
            let interfaces = interfaces.to_vec();
            let report = Report::Interfaces(Interfaces { capture: *capture, interfaces });
            match self.line.tell(&report) {
                Err(Error::Wire(wire::Error::TooLong { .. })) => too_long.push(*capture),
                other => other?,
            }
            station.extend(&self.opener, &self.poller, KEY_RING);
        }
        for capture in too_long {
            self.too_long(capture)?;
        }
        if !std::mem::take(&mut self.counts_are_new) {
            return Ok(());
        }
        for (capture, station) in &mut self.stations {
            // What is sent by now was counted before.
            station.count();
            if let Some(stats) = station.new_stats(self.outgoing.counts(*capture)) {
                self.line.tell(&Report::Counts(Counts { capture: *capture, stats }))?;
            }
        }
        Ok(())
    }

    fn tell_settled(&mut self, now: u64) -> Result<(), Error> {
        let every = self.settle_every();
        for (capture, station) in &mut self.stations {
            if station.settles_in(self.newest, every, SETTLE_RARELY).is_zero()
                && let Some(until) = station.settled(now, self.outgoing.oldest(*capture))
            {
                let settled = Settled { capture: *capture, until };
                self.line.tell_behind(&Report::Settled(settled))?;
            }
        }
        Ok(())
    }
}
