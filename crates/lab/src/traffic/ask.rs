use std::{
    net::{SocketAddr, ToSocketAddrs as _, UdpSocket},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use crate::{
    Error, Tag,
    traffic::{Options, Report},
};

/// Between two questions for the name's addresses.
const LOOK_UP_EVERY: Duration = Duration::from_millis(200);
/// How long to wait for a first address.
const NOBODY: Duration = Duration::from_millis(10);

/// Numbered datagrams to all addresses of a name in turn, at a rate, whoever comes and goes behind
/// it. Over IPv4.
pub(super) fn ask(mut options: Options) -> Result<Report, Error> {
    let to: String = options.need("to")?;
    let size = options.take("size")?.unwrap_or(64).max(Tag::LENGTH);
    let run = options.run()?;
    let mut pace = options.pace()?;
    options.end()?;
    let any = SocketAddr::from(([0_u8; 4], 0));
    let socket = UdpSocket::bind(any).map_err(Error::call("bind", any.to_string()))?;
    let addresses = Mutex::new(Vec::new());
    let (stop, stopped) = mpsc::channel::<()>();
    let mut question = vec![0x5a; size];
    let mut number = 0;
    let (to, addresses) = (&to, &addresses);
    thread::scope(|scope| {
        // Beside the traffic: a name server may take its time.
        scope.spawn(move || {
            while stopped.recv_timeout(LOOK_UP_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                look_up(to, addresses);
            }
        });
        while pace.due(1).is_some() {
            let address = {
                let addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
                let turn = usize::try_from(number).unwrap_or(0).checked_rem(addresses.len());
                turn.and_then(|turn| addresses.get(turn).copied())
            };
            let Some(address) = address else {
                thread::sleep(NOBODY);
                continue;
            };
            question[..Tag::LENGTH].copy_from_slice(&Tag { run, number }.to_bytes());
            number += 1;
            match socket.send_to(&question, address) {
                Ok(_) => pace.sent(1, size as u64),
                Err(_) => pace.failed(1),
            }
        }
        drop(stop);
    });
    Ok(pace.report())
}

/// Where nobody answers the addresses stay what they were.
fn look_up(name: &str, addresses: &Mutex<Vec<SocketAddr>>) {
    let found: Vec<SocketAddr> = name.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    let mut found: Vec<SocketAddr> = found.into_iter().filter(SocketAddr::is_ipv4).collect();
    found.sort_unstable();
    found.dedup();
    if !found.is_empty() {
        *addresses.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}
