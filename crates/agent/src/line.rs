use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, BorrowedFd},
};

use sys::poll;
use wire::{Hello, Kind, Order, PREAMBLE, Report, Stream, envelope};

use crate::error::Error;

/// The most that is read in one go, in bytes: then others have their turn.
const PIECE: usize = 64 * 1024;

/// From so many bytes of answers that nobody takes on no more orders are read.
const MAX_ANSWERS: usize = 256 * 1024;

/// The two pipes to the client, neither of which is waited for.
///
/// What goes out stands in one queue. A batch of frames may be long on its way, so reports that
/// concern no frames pass the one that has not begun.
#[derive(Debug)]
pub(crate) struct Line {
    input: File,
    output: File,
    stream: Stream,
    queue: VecDeque<Message>,
    /// Bytes of the first message that are written.
    written: usize,
    /// Messages of the queue that are batches.
    batches: usize,
    /// Bytes of the queue that are no batch.
    answers: usize,
    /// Bytes that were ever written.
    carried: u64,
}

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    is_batch: bool,
}

/// What a look at the input brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Something, or nothing for the moment.
    Open,
    /// The client has closed it.
    Ended,
}

/// What the client says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Who it is: to be read with [`Hello::read`].
    Hello(Vec<u8>),
    /// What it wants.
    Order(Order),
}

impl Line {
    /// # Errors
    /// When one of these is not open.
    pub(crate) fn new(input: File, output: File) -> Result<Self, Error> {
        poll::never_wait(&input)?;
        poll::never_wait(&output)?;
        let (stream, queue) = (Stream::default(), VecDeque::new());
        Ok(Self { input, output, stream, queue, written: 0, batches: 0, answers: 0, carried: 0 })
    }

    /// To be waited for while [`Line::listens`].
    pub(crate) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// To be waited for while [`Line::is_idle`] is `false`.
    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Whether orders are read: who takes no answers gives none.
    pub(crate) fn listens(&self) -> bool {
        self.answers < MAX_ANSWERS
    }

    /// Reads what is there, for [`Line::next`].
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn read(&mut self) -> Result<Input, Error> {
        let mut piece = vec![0; PIECE];
        match self.input.read(&mut piece) {
            Ok(0) => Ok(Input::Ended),
            Ok(length) => {
                self.stream.feed(&piece[..length]);
                Ok(Input::Open)
            }
            Err(error) if is_for_later(&error) => Ok(Input::Open),
            Err(error) => Err(Error::Read(error)),
        }
    }

    /// Whether the input ended where a message did.
    ///
    /// # Errors
    /// [`wire::Error::CutShort`] if not.
    pub(crate) fn end(&self) -> Result<(), Error> {
        Ok(self.stream.end()?)
    }

    /// What was said, one by one.
    ///
    /// # Errors
    /// Where it does not read; there is no going on then.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Error> {
        Ok(match self.stream.next_message()? {
            Some((Kind::Hello, bytes)) => Some(Incoming::Hello(bytes.to_vec())),
            Some((Kind::Order, bytes)) => Some(Incoming::Order(Order::read(bytes)?)),
            Some((Kind::Report, _)) => return Err(Error::OutOfTurn { what: "a report" }),
            Some((Kind::Batch, _)) => return Err(Error::OutOfTurn { what: "frames" }),
            None => None,
        })
    }

    /// Says who we are: first of all, and once.
    ///
    /// # Errors
    /// Where that is longer than a message.
    pub(crate) fn greet(&mut self, hello: &Hello) -> Result<(), Error> {
        let mut bytes = PREAMBLE.to_vec();
        bytes.extend(message(Kind::Hello, &hello.to_bytes())?);
        self.push(bytes, false, self.queue.len());
        Ok(())
    }

    /// Tells what concerns no frames that were sent before.
    ///
    /// # Errors
    /// Where it is longer than a message.
    pub(crate) fn tell(&mut self, report: &Report) -> Result<(), Error> {
        let bytes = message(Kind::Report, &report.to_bytes())?;
        self.push(bytes, false, self.before_batches());
        Ok(())
    }

    /// Tells what is true once everything before it has arrived.
    ///
    /// # Errors
    /// Where it is longer than a message.
    pub(crate) fn tell_behind(&mut self, report: &Report) -> Result<(), Error> {
        let bytes = message(Kind::Report, &report.to_bytes())?;
        self.push(bytes, false, self.queue.len());
        Ok(())
    }

    /// Sends frames.
    ///
    /// # Errors
    /// Where they are longer than a message, which batches are not.
    pub(crate) fn send(&mut self, batch: &[u8]) -> Result<(), Error> {
        let bytes = message(Kind::Batch, batch)?;
        self.push(bytes, true, self.queue.len());
        Ok(())
    }

    /// Where the first batch stands that has not begun, or the end.
    fn before_batches(&self) -> usize {
        let has_begun = |at: usize| at == 0 && self.written > 0;
        let is_it = |(at, message): (usize, &Message)| message.is_batch && !has_begun(at);
        let at =
            if self.batches == 0 { None } else { self.queue.iter().enumerate().position(is_it) };
        at.unwrap_or(self.queue.len())
    }

    fn push(&mut self, bytes: Vec<u8>, is_batch: bool, at: usize) {
        self.batches += usize::from(is_batch);
        self.answers += if is_batch { 0 } else { bytes.len() };
        self.queue.insert(at, Message { bytes, is_batch });
    }

    /// Writes as much as there is room for. `true`: that was all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn flush(&mut self) -> Result<bool, Error> {
        while let Some(message) = self.queue.front() {
            match self.output.write(&message.bytes[self.written..]) {
                Ok(length) => {
                    self.written += length;
                    self.carried += length as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return Ok(false),
                Err(error) => return Err(Error::Write(error)),
            }
            if self.written == message.bytes.len() {
                self.batches -= usize::from(message.is_batch);
                self.answers -= if message.is_batch { 0 } else { message.bytes.len() };
                self.queue.pop_front();
                self.written = 0;
            }
        }
        Ok(true)
    }

    /// How many bytes were ever written.
    pub(crate) fn carried(&self) -> u64 {
        self.carried
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }
}

fn message(kind: Kind, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = envelope(kind, payload)?.to_vec();
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use wire::{Clock, MAX_MESSAGE, Settled};

    use super::*;

    /// A line, and the client's ends of it.
    fn line() -> (Line, File, File) {
        let (input, orders) = io::pipe().unwrap();
        let (reports, output) = io::pipe().unwrap();
        let [input, orders] = [OwnedFd::from(input), orders.into()].map(File::from);
        let [reports, output] = [OwnedFd::from(reports), output.into()].map(File::from);
        (Line::new(input, output).unwrap(), orders, reports)
    }

    fn clock(number: u64) -> Report {
        Report::Clock(Clock { number, now: 7 })
    }

    /// What a message is: numbers of clocks, the length of frames, 0 for what settles.
    fn read(reports: &mut File, line: &mut Line) -> Vec<u64> {
        let mut stream = Stream::default();
        stream.feed(PREAMBLE);
        let (mut said, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
        while !line.is_idle() {
            line.flush().unwrap();
            let length = reports.read(&mut piece).unwrap();
            stream.feed(&piece[..length]);
            while let Some((kind, payload)) = stream.next_message().unwrap() {
                said.push(match kind {
                    Kind::Batch => payload.len() as u64,
                    _ => match Report::read(payload).unwrap() {
                        Report::Clock(clock) => clock.number,
                        _ => 0,
                    },
                });
            }
        }
        stream.end().unwrap();
        said
    }

    #[test]
    fn answers_pass_frames_that_have_not_begun() {
        let (mut line, _orders, mut reports) = line();
        line.send(&[0; 300_000]).unwrap();
        line.tell_behind(&Report::Settled(Settled { capture: 1, until: 0 })).unwrap();
        line.tell(&clock(1)).unwrap();
        line.tell(&clock(2)).unwrap();
        assert!(!line.flush().unwrap(), "a pipe has 64 KiB");
        // Now they have.
        line.tell(&clock(3)).unwrap();
        line.send(&[0; 5]).unwrap();
        line.tell(&clock(4)).unwrap();
        assert_eq!(read(&mut reports, &mut line), [1, 2, 300_000, 0, 3, 4, 5]);
        assert_eq!((line.answers, line.batches, line.written), (0, 0, 0));
    }

    #[test]
    fn who_takes_no_answers_is_not_heard() {
        let (mut line, _orders, mut reports) = line();
        let mut told = 0;
        while line.listens() {
            line.tell(&clock(told)).unwrap();
            told += 1;
        }
        assert!(told < 20_000);
        assert_eq!(read(&mut reports, &mut line).len() as u64, told);
        assert!(line.listens());
    }

    #[test]
    fn what_is_too_long_is_an_error_and_leaves_nothing() {
        let (mut line, _orders, _reports) = line();
        line.send(&[0; MAX_MESSAGE]).unwrap_err();
        assert!(line.is_idle());
    }

    #[test]
    fn only_what_a_client_says_is_heard() {
        for (kind, is_heard) in
            [(Kind::Order, true), (Kind::Hello, true), (Kind::Report, false), (Kind::Batch, false)]
        {
            let (mut line, mut orders, _reports) = line();
            assert_eq!(line.read().unwrap(), Input::Open);
            orders.write_all(PREAMBLE).unwrap();
            orders.write_all(&message(kind, &Order::Heartbeat.to_bytes()).unwrap()).unwrap();
            drop(orders);
            assert_eq!(line.read().unwrap(), Input::Open);
            assert_eq!(line.next().is_ok_and(|incoming| incoming.is_some()), is_heard, "{kind:?}");
            assert_eq!(line.read().unwrap(), Input::Ended);
            line.end().unwrap();
        }
    }
}
