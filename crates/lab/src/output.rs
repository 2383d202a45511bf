use std::{
    io::{self, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Which lines are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Those that have ended.
    Whole,
    /// Also the one that is being written.
    AndUnfinished,
}

/// One output of a program, filled by a thread of its own.
#[derive(Debug, Default)]
pub(crate) struct Output {
    kept: Mutex<Kept>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    pub(crate) fn follow(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self::default());
        let filled = Arc::clone(&output);
        thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            loop {
                match pipe.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read) => filled.kept().bytes.extend_from_slice(&chunk[..read]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                }
                filled.changed.notify_all();
            }
            filled.kept().ended = true;
            filled.changed.notify_all();
        });
        output
    }

    /// One that goes where nobody follows: there is nothing to wait for.
    pub(crate) fn elsewhere() -> Arc<Self> {
        let kept = Mutex::new(Kept { bytes: Vec::new(), ended: true });
        Arc::new(Self { kept, changed: Condvar::new() })
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whole bytes are appended under the lock: a panic cannot leave half of a change.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept().bytes).into_owned()
    }

    pub(crate) fn wait_for_line(
        &self,
        limit: Duration,
        whole: Lines,
        mut matches: impl FnMut(&str) -> bool,
    ) -> Option<String> {
        let ends = Instant::now() + limit;
        let mut seen = 0;
        let mut kept = self.kept();
        loop {
            while let Some(length) =
                kept.bytes[seen..].iter().position(|byte| matches!(byte, b'\n' | b'\r'))
            {
                let line = String::from_utf8_lossy(&kept.bytes[seen..seen + length]);
                if matches(&line) {
                    return Some(line.into_owned());
                }
                seen += length + 1;
            }
            let left = ends.saturating_duration_since(Instant::now());
            if kept.ended || left.is_zero() || whole == Lines::AndUnfinished {
                // dumpcap and others end their last words without a newline.
                let rest = String::from_utf8_lossy(&kept.bytes[seen..]);
                if matches(&rest) {
                    return Some(rest.into_owned());
                }
                if kept.ended || left.is_zero() {
                    return None;
                }
            }
            kept = self.changed.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn wait_for_end(&self, limit: Duration) {
        let ends = Instant::now() + limit;
        let mut kept = self.kept();
        while !kept.ended {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            kept = self.changed.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
