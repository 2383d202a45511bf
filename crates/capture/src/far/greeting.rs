use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Instant,
};

use wire::{Kind, Order, Question, Report, Stream};

use super::{link::ANSWERS_WITHIN, outbox::Outbox};
use crate::{Error, clock};

/// How often it is asked what time it is: the promptest answer is the most exact.
const CLOCK_QUESTIONS: u64 = 5;
/// By how much the far side's clock is ahead of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// Nanoseconds; less than 0 where it is behind.
    pub nanoseconds: i64,
    /// By how much that may be wrong: half of the way there and back, in nanoseconds.
    pub uncertainty: u64,
}

/// The beginning: question and answer.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) stream: UnixStream,
    pub(super) incoming: Stream,
}

impl Greeting {
    /// Says something and reads until `answer` finds what it waits for.
    pub(super) fn exchange<T>(
        &mut self,
        outbox: Outbox,
        mut answer: impl FnMut(Kind, &[u8]) -> Option<Result<T, wire::Error>>,
    ) -> Result<T, Error> {
        let until = Instant::now() + ANSWERS_WITHIN;
        let limit = Some(ANSWERS_WITHIN);
        self.stream.set_read_timeout(limit).map_err(silent)?;
        self.stream.set_write_timeout(limit).map_err(silent)?;
        self.stream.write_all(outbox.waiting()).map_err(silent)?;
        let mut piece = [0; 4096];
        while Instant::now() < until {
            while let Some((kind, payload)) = self.incoming.next_message()? {
                if let Some(answer) = answer(kind, payload) {
                    return Ok(answer?);
                }
            }
            match self.stream.read(&mut piece).map_err(silent)? {
                0 => return Err(Error::FarGone { why: "it ended at once".to_owned() }),
                read => self.incoming.feed(&piece[..read]),
            }
        }
        Err(silent(io::ErrorKind::TimedOut.into()))
    }

    /// Compares clocks.
    pub(super) fn ask_time(&mut self) -> Result<Ahead, Error> {
        let mut best: Option<Ahead> = None;
        for number in 0..CLOCK_QUESTIONS {
            let mut outbox = Outbox::default();
            outbox.put(Kind::Order, &Order::Clock(Question { number }).to_bytes())?;
            let before = clock::own();
            let there = self.exchange(outbox, |kind, payload| {
                let report = (kind == Kind::Report).then(|| Report::read(payload))?;
                match report {
                    Ok(Report::Clock(clock)) if clock.number == number => Some(Ok(clock.now)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                }
            })?;
            let after = clock::own();
            let uncertainty = after.saturating_sub(before) / 2;
            let nanoseconds = i128::from(there) - i128::from(before + uncertainty);
            let nanoseconds = i64::try_from(nanoseconds).unwrap_or(0);
            let found = Ahead { nanoseconds, uncertainty };
            if best.is_none_or(|best| found.uncertainty < best.uncertainty) {
                best = Some(found);
            }
        }
        Ok(best.unwrap_or(Ahead { nanoseconds: 0, uncertainty: 0 }))
    }
}

pub(super) fn silent(error: io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        _ => error.to_string(),
    };
    Error::FarGone { why }
}
