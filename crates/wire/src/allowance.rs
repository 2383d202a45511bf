use std::{collections::VecDeque, time::Duration};

/// How much may be under way at the least, in bytes of memory: a batch at a time.
const MIN: u64 = 64 * 1024;

/// At the beginning.
const FIRST: u64 = 256 * 1024;

/// At the most, in bytes of memory: what is under way on 1 Gbit/s over 100 ms where nothing can be compressed.
pub const MAX_ALLOWANCE: u64 = 16 * 1024 * 1024;

/// How long what is under way may wait on its way before less is sent.
const PATIENCE: Duration = Duration::from_millis(250);

/// How many batches are remembered. A allowance is full of batches before.
const REMEMBERED: usize = 4096;

/// How much the far side may have under way, in bytes of memory that it takes at the client: there it
/// waits where a disk is slow, and what compresses well is small on its way alone
/// ([`crate::Batch::weight`]).
///
/// Between the two sides there are pipes, ssh, sockets and an engine, which hold megabytes between
/// them: on a link of 1 Mbit/s more than a minute of traffic. A frame that enters them is late, and
/// cannot be dropped any more. So the client says how much it has used
/// ([`crate::Acknowledge`]), and the far side sends no more than an allowance ahead of that. The allowance
/// grows as long as answers come promptly, and shrinks when they take 250 ms longer than the
/// promptest has: then what is under way waits in a queue. What does not fit waits in the far side's
/// own memory, where it is dropped and counted when there is too much of it.
///
/// Time is the caller's, as the time since any fixed moment.
#[derive(Debug)]
pub struct Allowance {
    size: u64,
    sent: u64,
    used: u64,
    /// Batches under way: what was sent with each and before it, and when.
    under_way: VecDeque<(u64, Duration)>,
    promptest: Duration,
    /// The allowance does not change again before this much was used: what is under way was sent
    /// under the one before.
    next_change: u64,
    /// There was no room in it since the last change.
    was_full: bool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            size: FIRST,
            sent: 0,
            used: 0,
            under_way: VecDeque::new(),
            promptest: Duration::MAX,
            next_change: 0,
            was_full: false,
        }
    }
}

impl Allowance {
    /// Whether another batch may be sent. One may be more than the rest of the allowance; where nothing
    /// is under way there is always room.
    pub fn has_room(&mut self) -> bool {
        let room = self.sent - self.used < self.size && self.under_way.len() < REMEMBERED;
        self.was_full |= !room;
        room
    }

    /// A batch of this weight is sent now.
    pub fn sent(&mut self, bytes: u64, now: Duration) {
        self.sent += bytes;
        self.under_way.push_back((self.sent, now));
    }

    /// The client has used so much since the beginning. What was never sent is not believed.
    pub fn used(&mut self, bytes: u64, now: Duration) {
        self.used = bytes.clamp(self.used, self.sent);
        let mut took = None;
        while let Some((until, sent)) = self.under_way.front().copied()
            && until <= self.used
        {
            self.under_way.pop_front();
            took = Some(now.saturating_sub(sent));
        }
        let Some(took) = took else { return };
        self.promptest = self.promptest.min(took);
        if self.used < self.next_change {
            return;
        }
        if took > self.promptest + PATIENCE {
            self.size = (self.size / 2).max(MIN);
        } else if self.was_full && took < self.promptest + PATIENCE / 2 {
            self.size = (self.size * 2).min(MAX_ALLOWANCE);
        } else {
            return;
        }
        self.was_full = false;
        self.next_change = self.sent;
    }

    /// Bytes that may be under way.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, prop_assert, proptest},
    };

    use super::*;

    /// A link with a rate in bytes a second and a delay for both ways together. Sends `batch` after
    /// `batch` for `seconds`, and gives the bytes that arrived and the longest time that one took in
    /// the second half.
    fn link(rate: u64, delay: Duration, batch: u64, seconds: u64) -> (u64, Duration) {
        let mut allowance = Allowance::default();
        let mut free_at = Duration::ZERO;
        let mut arrivals: VecDeque<(Duration, Duration)> = VecDeque::new();
        let (mut now, mut arrived, mut worst) = (Duration::ZERO, 0, Duration::ZERO);
        let end = Duration::from_secs(seconds);
        while now < end {
            while allowance.has_room() {
                allowance.sent(batch, now);
                free_at = free_at.max(now) + Duration::from_nanos(batch * 1_000_000_000 / rate);
                arrivals.push_back((now, free_at + delay));
            }
            let (sent, at) = arrivals.pop_front().expect("something is under way");
            now = at;
            arrived += batch;
            allowance.used(arrived, now);
            if now > end / 2 {
                worst = worst.max(now - sent);
            }
        }
        (arrived, worst)
    }

    /// What the stream is for: 1 Mbit/s, and what arrives is not old.
    #[test]
    fn a_thin_link_has_no_long_queue_and_is_used() {
        let rate = 125_000;
        let (arrived, worst) = link(rate, Duration::from_millis(40), 32 * 1024, 60);
        assert!(worst < Duration::from_millis(1100), "{worst:?}");
        assert!(arrived > rate * 57, "{arrived}");
    }

    #[test]
    fn a_fast_link_is_filled_however_long_it_is() {
        for (rate, delay) in [(125_000_000, 50), (1_250_000_000, 1), (12_500_000, 100)] {
            let (arrived, _) = link(rate, Duration::from_millis(delay), 128 * 1024, 20);
            assert!(arrived > rate * 18, "{rate}, {delay} ms: {arrived}");
        }
    }

    #[test]
    fn what_was_never_sent_is_not_believed() {
        let mut allowance = Allowance::default();
        allowance.sent(FIRST, Duration::ZERO);
        assert!(!allowance.has_room());
        allowance.used(u64::MAX, Duration::from_millis(1));
        assert_eq!(allowance.used, FIRST);
        allowance.used(0, Duration::from_millis(2));
        assert!(allowance.has_room());
    }

    proptest! {
        #[test]
        fn bounds_are_kept(steps in vec((any::<u64>(), any::<u32>(), any::<bool>()), 0..200)) {
            let (mut allowance, mut now) = (Allowance::default(), Duration::ZERO);
            for (bytes, passed, sends) in steps {
                now += Duration::from_micros(passed.into());
                if sends && allowance.has_room() {
                    allowance.sent(bytes % (1 << 20), now);
                } else {
                    allowance.used(bytes, now);
                }
                prop_assert!((MIN..=MAX_ALLOWANCE).contains(&allowance.size()));
                prop_assert!(allowance.used <= allowance.sent && allowance.under_way.len() <= REMEMBERED);
            }
        }
    }
}
