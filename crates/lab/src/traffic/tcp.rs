use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Error,
    traffic::{Options, Pace, Report, report},
};

/// Bytes of one write or read.
const CHUNK: usize = 64 * 1024;
/// How long a connection may be refused: the listener may start later.
const CONNECT: Duration = Duration::from_secs(5);
/// Time between two tries to connect.
const RETRY: Duration = Duration::from_millis(10);
/// How often a listener looks at the time.
const LOOK: Duration = Duration::from_millis(200);

/// Reads connections, one after the other, to their end.
pub(super) fn sink(mut options: Options) -> Result<Report, Error> {
    let listen: SocketAddr = options.need("listen")?;
    let mut pace = options.pace()?;
    options.end()?;
    let listener = TcpListener::bind(listen).map_err(Error::call("bind", listen.to_string()))?;
    report::say(&format!("listening on {listen}"));
    let mut buffer = vec![0; CHUNK];
    while pace.due(1).is_some() {
        let Some(mut stream) = accept(&listener, &pace)? else { break };
        stream
            .set_read_timeout(Some(LOOK))
            .map_err(Error::call("setsockopt(SO_RCVTIMEO)", listen.to_string()))?;
        while pace.due(1).is_some() {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => pace.sent(read as u64, read as u64),
                Err(error) if is_timeout(&error) => {}
                Err(_) => break,
            }
        }
    }
    Ok(pace.report())
}

fn accept(listener: &TcpListener, pace: &Pace) -> Result<Option<TcpStream>, Error> {
    loop {
        let left = pace.ends().saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match poll(&mut [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)], Some(&timeout))
        {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => match listener.accept() {
                Ok((stream, _)) => return Ok(Some(stream)),
                Err(error) => return Err(Error::call("accept", "a connection")(error)),
            },
            Err(errno) => return Err(Error::call("poll", "a listener")(errno)),
        }
    }
}

/// A stream at a rate in bytes a second, or as fast as it goes.
pub(super) fn send(mut options: Options) -> Result<Report, Error> {
    let to: SocketAddr = options.need("to")?;
    let size = options.take("size")?.unwrap_or(CHUNK).clamp(1, 1 << 20);
    let mut stream = connect(to)?;
    let mut pace = options.pace()?;
    options.end()?;
    let chunk = vec![0x5a; size];
    while let Some(due) = pace.due(size as u64) {
        let length = usize::try_from(due).unwrap_or(size);
        stream.write_all(&chunk[..length]).map_err(Error::call("write", to.to_string()))?;
        pace.sent(due, due);
    }
    Ok(pace.report())
}

fn connect(to: SocketAddr) -> Result<TcpStream, Error> {
    let ends = Instant::now() + CONNECT;
    loop {
        match TcpStream::connect_timeout(&to, CONNECT) {
            Err(error)
                if error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < ends =>
            {
                thread::sleep(RETRY);
            }
            result => return result.map_err(Error::call("connect", to.to_string())),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}
