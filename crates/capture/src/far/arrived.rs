use sys::ring::{Assembly, Block};
use wire::Batch;

/// A batch as a block of the ring that it once was in. Frames that were lost before it make it a
/// [losing](Block::is_losing) one.
#[must_use]
pub fn arrived(batch: &Batch) -> Block {
    let mut assembly = Assembly::default();
    for frame in batch.frames() {
        // A batch is shorter than a block may be.
        assembly.push(&frame);
    }
    assembly.finish(batch.lost > 0)
}
