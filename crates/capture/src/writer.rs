//! Writing: the only place where a disk or a pipe can make somebody wait.

use std::{
    cell::Cell,
    collections::HashMap,
    fs::File,
    io::{self, Write},
    ops::AddAssign,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crossbeam_channel::Sender;
use sys::{disk::Existing, poll::Waker};

use crate::{
    CaptureId, Compression, Error, KeepFree,
    budget::Budget,
    chunk::Chunk,
    compression::Packer,
    file_name::before_suffix,
    recorder::{Held, NotStored},
};

/// The highest counter of a file name that is taken: so many files of one target and trigger within
/// one second, where the name has seconds.
const MAX_COUNTER: u32 = 10_000;

/// How many frames of which source a chunk has.
pub(crate) type Tally = Vec<(CaptureId, Portion)>;

/// Packets of one capture, and their captured bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Portion {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl AddAssign for Portion {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// What the writer is told, in the order in which it happens. The queue has no bound of its own:
/// the memory budget bounds the chunks, and between two chunks there is little else.
#[derive(Debug)]
pub(crate) enum Order {
    /// Write to a new file from now on.
    Open { output: usize, path: PathBuf, existing: Existing },
    /// Write to a new file of this name, or of one with a counter where that is taken.
    Record { output: usize, path: PathBuf },
    /// Write to this from now on; `plain`: as it is, however files are compressed.
    Stream { output: usize, file: File, path: PathBuf, plain: bool },
    /// Whole blocks.
    Write { output: usize, bytes: Chunk, tally: Tally },
    /// Whole blocks that others hold, too.
    WriteHeld { output: usize, held: Arc<Held> },
    /// The file is complete, and another may follow.
    Close { output: usize, rotated: bool },
    /// A file has fallen out of its ring.
    Remove { path: PathBuf },
    /// A source has ended: say so when everything before this is done.
    Tell { source: CaptureId },
}

/// What the writer tells.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything of a source is done.
    Ended { source: CaptureId },
    /// A file is complete and closed.
    Done { output: usize, path: PathBuf, rotated: bool },
    /// Bytes did not reach their output, and none will any more.
    Lost { output: usize, tally: Tally },
    /// An output has broken. Told once for each.
    Broken { output: usize, error: Error, pipe_closed: bool },
    /// A part of what was to be written could not be read back. Told once for each file.
    Torn { output: usize, source: io::Error },
    /// The spill's thread writes nothing that was sent before this is heard.
    SpillStopped { why: NotStored },
    /// The file system has less room than is to be left. Told once.
    NoRoom { path: PathBuf, free: u64, keep: u64 },
}

/// Who holds it writes: carries orders out, one after the other, and waits for disks.
#[derive(Debug)]
pub(crate) struct Pen {
    /// Those that are open, by their numbers. Numbers only grow, and so would a list of them.
    outputs: HashMap<usize, Open>,
    budget: Arc<Budget>,
    keep_free: KeepFree,
    compression: Compression,
    packer: Packer,
    /// What is read back from disk: one chunk.
    read: Vec<u8>,
    outbox: Sender<Outcome>,
    waker: Waker,
    /// That there is no room was told.
    told: Cell<bool>,
}

/// An output that is open.
#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    compression: Compression,
    /// Bytes in the file: whole blocks, or whole frames.
    written: u64,
    is_file: bool,
    /// Somebody can find it by a name, and has to be told when the name goes.
    is_named: bool,
    broken: bool,
    /// That something could not be read back was told.
    torn: bool,
}

impl Open {
    fn new(file: File, path: PathBuf, compression: Compression) -> Self {
        let (is_file, is_named, broken, torn) = (false, false, false, false);
        Self { file, path, compression, written: 0, is_file, is_named, broken, torn }
    }

    fn write(&mut self, bytes: &[u8], packer: &mut Packer) -> io::Result<()> {
        let bytes = match self.compression {
            Compression::None => bytes,
            Compression::Zstd => packer.pack(bytes, self.written)?,
        };
        write_whole(self, bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl Pen {
    /// A pen that tells its outcomes to `outbox`, and calls `waker` for each.
    pub(crate) fn new(
        budget: Arc<Budget>,
        keep_free: KeepFree,
        compression: Compression,
        outbox: Sender<Outcome>,
        waker: Waker,
    ) -> Self {
        let (packer, read, told) = (Packer::default(), Vec::new(), Cell::new(false));
        let outputs = HashMap::new();
        Self { outputs, budget, keep_free, compression, packer, read, outbox, waker, told }
    }

    /// Does what was ordered, and comes back when it is done.
    pub(crate) fn carry_out(&mut self, order: Order) {
        match order {
            Order::Open { output, path, existing } => self.open(output, path, existing),
            Order::Stream { output, file, path, plain } => {
                let compression = if plain { Compression::None } else { self.compression };
                self.outputs.insert(output, Open::new(file, path, compression));
            }
            Order::Record { output, path } => self.begin_record(output, path),
            Order::Write { output, bytes, tally } => {
                self.write(output, bytes.as_slice(), tally);
                self.budget.give_back(bytes);
            }
            Order::WriteHeld { output, held } => self.write_held(output, &held),
            Order::Close { output, rotated } => {
                if let Some(open) = self.outputs.remove(&output)
                    && open.is_file
                    && !open.broken
                {
                    self.tell(Outcome::Done { output, path: open.path, rotated });
                }
            }
            Order::Remove { path } => {
                // What somebody else has removed already needs no removing.
                let _ = std::fs::remove_file(path);
            }
            Order::Tell { source } => self.tell(Outcome::Ended { source }),
        }
    }

    /// Creates a recorder's file, unless there is no room for it.
    fn begin_record(&mut self, output: usize, path: PathBuf) {
        // What was told of another file says nothing of this one.
        self.told.set(false);
        // Whether a name is taken shows when it is taken: somebody may be faster.
        let name = path.to_string_lossy();
        let mut counter = 0_u32;
        let (path, opened) = loop {
            let path = match counter {
                0 => path.clone(),
                _ => before_suffix(&name, &format!("-{counter}")).into(),
            };
            match create(&path, Existing::Nothing) {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && counter < MAX_COUNTER =>
                {
                    counter += 1;
                }
                opened => break (path, opened),
            }
        };
        let opened = opened.and_then(|(file, is_file)| match self.lacks_room(&file) {
            Some(lack) => {
                // It is ours and empty; that it stays there does no harm.
                let _ = std::fs::remove_file(&path);
                Err(io::Error::new(io::ErrorKind::StorageFull, lack))
            }
            None => Ok((file, is_file)),
        });
        self.take_up(output, path, opened);
    }

    /// What is to be said where the file system has less room than is to be left.
    fn lacks_room(&self, file: &File) -> Option<String> {
        let room = sys::disk::room(file).ok().flatten()?;
        let keep = self.keep_free.bytes(room.total);
        let lack =
            || format!("{} bytes are left on the file system, and {keep} are kept free", room.free);
        (room.free < keep).then(lack)
    }

    fn open(&mut self, output: usize, path: PathBuf, existing: Existing) {
        let opened = create(&path, existing);
        self.take_up(output, path, opened);
    }

    fn take_up(&mut self, output: usize, path: PathBuf, opened: io::Result<(File, bool)>) {
        match opened {
            Ok((file, is_file)) => {
                let is_named = is_file && links(&file) > 0;
                let open = Open { is_file, is_named, ..Open::new(file, path, self.compression) };
                self.check_room(&open, 0);
                self.outputs.insert(output, open);
            }
            Err(source) => {
                self.outputs.remove(&output);
                let error = Error::Open { path, source };
                self.tell(Outcome::Broken { output, error, pipe_closed: false });
            }
        }
    }

    fn write(&mut self, output: usize, bytes: &[u8], tally: Tally) {
        if let Some(open) = self.outputs.get(&output) {
            self.check_room(open, bytes.len() as u64);
        }
        let mut failure = None;
        match self.outputs.get_mut(&output) {
            Some(open) if !open.broken => {
                if let Err(source) = open.write(bytes, &mut self.packer) {
                    open.broken = true;
                    let pipe_closed = source.kind() == io::ErrorKind::BrokenPipe;
                    let error = Error::Write { path: open.path.clone(), source };
                    failure = Some(Outcome::Broken { output, error, pipe_closed });
                }
            }
            _ => self.tell(Outcome::Lost { output, tally: tally.clone() }),
        }
        if let Some(failure) = failure {
            // In this order: what is lost with a closed pipe is not what is lost with a disk.
            self.tell(failure);
            self.tell(Outcome::Lost { output, tally });
        }
    }

    /// Writes a chunk, from memory or from disk.
    fn write_held(&mut self, output: usize, held: &Held) {
        let mut buffer = std::mem::take(&mut self.read);
        match held.bytes(&mut buffer) {
            Ok(bytes) => self.write(output, &bytes, Tally::new()),
            Err(source) => {
                if let Some(open) = self.outputs.get_mut(&output)
                    && !std::mem::replace(&mut open.torn, true)
                {
                    self.tell(Outcome::Torn { output, source });
                }
            }
        }
        self.read = buffer;
    }

    /// Tells where the file system will have less room than is to be left once so much more is written.
    fn check_room(&self, open: &Open, coming: u64) {
        if self.told.get() || open.broken || !open.is_file {
            return;
        }
        // A file system that does not say how much room it has is not full.
        let Ok(Some(room)) = sys::disk::room(&open.file) else { return };
        let keep = self.keep_free.bytes(room.total);
        let free = room.free.saturating_sub(coming);
        if free < keep {
            self.told.set(true);
            let path = open.path.clone();
            self.tell(Outcome::NoRoom { path, free, keep });
        }
    }

    fn tell(&self, outcome: Outcome) {
        // Nobody listens any more only once the reader has ended.
        let _ = self.outbox.send(outcome);
        self.waker.wake();
    }
}

/// Creates a file for its owner alone, or opens what is there and is no file (a FIFO, a device).
fn create(path: &Path, existing: Existing) -> io::Result<(File, bool)> {
    let file = sys::disk::create(path, existing).map_err(|error| match error {
        sys::Error::NotFile { .. } => io::Error::other(
            "a link or something else that is no file stands there, and under names that were not given \
             only files are replaced",
        ),
        sys::Error::Path { source, .. } => source,
        other => io::Error::other(other),
    })?;
    let is_file = file.metadata()?.is_file();
    Ok((file, is_file))
}

/// Writes all or, to a file, nothing: a chunk is whole blocks (compressed: whole
/// frames), and so is what stays.
fn write_whole(open: &mut Open, bytes: &[u8]) -> io::Result<()> {
    let done = open.file.write_all(bytes);
    if done.is_err() && open.is_file {
        // The first error is the one to tell.
        let _ = open.file.set_len(open.written);
    }
    done.and_then(|()| still_there(open))
}

/// Whether what was written can be found: a file whose directory was removed takes bytes, and
/// nobody will read them.
fn still_there(open: &Open) -> io::Result<()> {
    if open.is_named && links(&open.file) == 0 {
        return Err(io::Error::other("the file was removed"));
    }
    Ok(())
}

/// How many names a file has; one where the file system does not say.
fn links(file: &File) -> u64 {
    file.metadata().map_or(1, |metadata| metadata.nlink())
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    #[test]
    fn what_is_closed_is_forgotten() {
        let waker = Waker::new().unwrap();
        let (outbox, outcomes) = unbounded();
        let budget = Arc::new(Budget::new(0, 1, waker.clone()));
        let mut pen = Pen::new(budget, KeepFree::Bytes(0), Compression::None, outbox, waker);
        let directory = tempfile::tempdir().unwrap();
        for output in 0..20 {
            let path = directory.path().join(output.to_string());
            pen.carry_out(Order::Open { output, path, existing: Existing::Nothing });
            let bytes = vec![7; 8].into();
            pen.carry_out(Order::Write { output, bytes, tally: Tally::new() });
            pen.carry_out(Order::Close { output, rotated: false });
            assert_eq!(pen.outputs.len(), 0);
        }
        assert_eq!(outcomes.len(), 20);
        assert!(outcomes.try_iter().all(|outcome| matches!(outcome, Outcome::Done { .. })));
        // What comes for one of them is lost, and is told.
        pen.carry_out(Order::Write {
            output: 3,
            bytes: vec![7; 8].into(),
            tally: vec![(CaptureId(0), Portion { packets: 1, bytes: 8 })],
        });
        assert!(matches!(outcomes.try_recv(), Ok(Outcome::Lost { output: 3, .. })));
    }
}
