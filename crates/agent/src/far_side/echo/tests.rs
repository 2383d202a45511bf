use model::{Hatype, PacketType};

use super::*;

const STEP: Duration = Duration::from_millis(10);
const CLOCK: u64 = 1_800_000_000_000_000_000;
/// What the link takes in a step, in bytes: 10 MB/s.
const LINK: u64 = 100_000;

/// A TCP frame from port 2376 to this one.
fn frame(port: u16, data: &mut [u8], timestamp: u64) -> FrameParts<'_> {
    let addresses = [10, 7, 9, 2, 10, 7, 8, 1];
    data[14..34]
        .copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    data[26..34].copy_from_slice(&addresses);
    data[34..36].copy_from_slice(&2376_u16.to_be_bytes());
    data[36..38].copy_from_slice(&port.to_be_bytes());
    FrameParts {
        timestamp,
        interface: 2,
        hatype: Hatype::ETHER,
        protocol: 0x0800,
        packet_type: PacketType::Outgoing,
        vlan: None,
        checksum_not_ready: false,
        checksum_valid: false,
        tcp_segmentation: false,
        address: &[],
        network_offset: 14,
        original_length: u32::try_from(data.len()).unwrap_or(0),
        data,
    }
}

const OURS: u16 = 40_000;
const OTHERS: u16 = 50_000;

/// What a far side of which frames are captured finds within so many seconds, and how much of the time
/// it has sent no frames. `others` tells how many bytes somebody else's flow carries in a step, and
/// `is_seen` whether our own stream is captured.
fn world(
    seconds: u64,
    is_seen: bool,
    mut others: impl FnMut(Duration) -> u64,
) -> (Option<Flow>, Duration) {
    let mut echo = Echo::new(Duration::ZERO);
    let (mut at, mut carried, mut waiting, mut held) = (Duration::ZERO, 0, 0_u64, Duration::ZERO);
    let mut buffer = vec![0; 2 * usize::try_from(LINK).unwrap_or(0)];
    let mut under_way = VecDeque::from([0; 3]);
    while at < Duration::from_secs(seconds) {
        at += STEP;
        let now = CLOCK + u64::try_from(at.as_nanos()).unwrap_or(0);
        let mut hear = |echo: &mut Echo, port, length: u64| {
            let length = length.min(2 * LINK);
            if length > 0 {
                let bytes = &mut buffer[..usize::try_from(length).unwrap_or(0).max(54)];
                echo.hear(&frame(port, bytes, now));
                waiting += length;
            }
        };
        // What was said some time ago, with its headers.
        let own = under_way.pop_front().unwrap_or(0);
        echo.used(carried - under_way.iter().sum::<u64>());
        if is_seen {
            hear(&mut echo, OURS, own + own / 20);
        }
        hear(&mut echo, OTHERS, others(at));
        let says = if echo.speech() == Speech::Free { waiting.min(LINK) } else { 0 };
        held += if echo.speech() == Speech::Free { Duration::ZERO } else { STEP };
        waiting -= says;
        carried += says;
        under_way.push_back(says);
        echo.sent(says);
        if let Some(flow) = echo.turn(at, now, carried) {
            return (Some(flow), held);
        }
    }
    (None, held)
}

#[test]
fn our_own_stream_is_found() {
    // Something has to begin it, and it goes on by itself.
    let (found, _) = world(10, true, |at| if at < Duration::from_secs(1) { 2000 } else { 0 });
    let found = found.unwrap().to_string();
    assert_eq!(found, "TCP from 10.7.9.2:2376 to 10.7.8.1:40000");
    // Beside as much of somebody else's.
    let (found, _) = world(20, true, |_| LINK / 2);
    let found = found.unwrap();
    assert_eq!(found.to_string(), "TCP from 10.7.9.2:2376 to 10.7.8.1:40000");
    assert_eq!(found.expression(), "not (host 10.7.8.1 and port 2376)");
}

#[test]
fn who_carries_as_much_is_not_taken_for_us() {
    let (found, held) = world(600, false, |_| LINK / 2);
    assert_eq!(found, None);
    assert!(held > Duration::ZERO, "it was never asked");
    assert!(held < Duration::from_secs(2), "{held:?} of 600 s");
    // One that comes and goes, however regularly.
    for away in (50..=3000).step_by(50) {
        for there in [50, 200, 500, 1100, 2500] {
            let is_there = |at: Duration| at.as_millis() % (there + away) < there;
            let others = |at: Duration| if is_there(at) { LINK / 2 } else { 0 };
            let (found, held) = world(300, false, others);
            assert_eq!(found, None, "{there} ms there, {away} ms away");
            assert!(
                held < Duration::from_secs(40),
                "{held:?} of 300 s; {there} ms, {away} ms away"
            );
        }
    }
}

#[test]
fn little_is_not_looked_at() {
    let (found, held) = world(60, false, |_| 500);
    assert_eq!((found, held), (None, Duration::ZERO));
}
