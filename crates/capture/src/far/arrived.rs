use sys::ring::{Assembly, Block, FrameParts};
use wire::Batch;

/// A batch as a block of the ring that it once was in. Frames that were lost before it make it a
/// [losing](Block::is_losing) one.
#[must_use]
pub fn arrived(batch: &Batch) -> Block {
    let mut assembly = Assembly::default();
    for frame in batch.frames() {
        // A batch is shorter than a block may be.
        assembly.push(&FrameParts {
            timestamp: frame.timestamp,
            interface: frame.interface,
            hatype: frame.hatype,
            protocol: frame.protocol,
            packet_type: frame.packet_type,
            vlan: frame.vlan,
            checksum_not_ready: frame.checksum_not_ready,
            checksum_valid: frame.checksum_valid,
            tcp_segmentation: frame.tcp_segmentation,
            address: frame.address,
            network_offset: frame.network_offset,
            original_length: frame.original_length,
            data: frame.data,
        });
    }
    assembly.finish(batch.lost > 0)
}
