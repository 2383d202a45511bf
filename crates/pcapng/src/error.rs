use std::io;

/// What is wrong with a file that is being read. Writing cannot fail.
///
/// Offsets are bytes from the file's beginning, of the block or record that is meant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source could not be read. Nothing follows.
    #[error("cannot read the capture at byte {offset}")]
    Read {
        /// How far reading came.
        offset: u64,
        /// What the source said.
        source: io::Error,
    },
    /// The file begins with none of the formats' magic numbers. Nothing follows.
    #[error("neither pcapng nor pcap: the file begins with {magic:02x?}")]
    UnknownFormat {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// A section header without the byte-order magic. Nothing follows.
    #[error("section at byte {offset} has no byte order: {magic:02x?}")]
    ByteOrder {
        /// Where the section begins.
        offset: u64,
        /// What stands in place of the magic.
        magic: [u8; 4],
    },
    /// A block's length is impossible or over [`MAX_BLOCK_LEN`](crate::MAX_BLOCK_LEN), so that
    /// the next block cannot be found. Nothing follows.
    #[error("block at byte {offset} cannot be {length} bytes long")]
    BlockLength {
        /// Where the block begins.
        offset: u64,
        /// The length that it claims.
        length: u32,
    },
    /// A classic record is longer than [`MAX_BLOCK_LEN`](crate::MAX_BLOCK_LEN). Nothing follows.
    #[error("record at byte {offset} cannot hold {length} bytes")]
    RecordLength {
        /// Where the record begins.
        offset: u64,
        /// The captured length that it claims.
        length: u32,
    },
    /// The two copies of a block's length differ. Reading goes on where the first one says.
    #[error("block at byte {offset} begins with length {length} and ends with {trailer}")]
    Trailer {
        /// Where the block begins.
        offset: u64,
        /// The length at its beginning.
        length: u32,
        /// The length at its end.
        trailer: u32,
    },
    /// A section of a version that nobody has defined. Its blocks follow uninterpreted, the next
    /// section is read as usual.
    #[error("section at byte {offset} has version {major}.{minor}, known is 1.0")]
    Version {
        /// Where the section begins.
        offset: u64,
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// A block that is too short for what its type or its own length fields demand. Reading goes
    /// on with the next block.
    #[error("block of type {block_type} at byte {offset} is shorter than its fields")]
    ShortBlock {
        /// Where the block begins.
        offset: u64,
        /// Its type.
        block_type: u32,
    },
    /// A block refers to an interface that the section has not described. Reading goes on with the
    /// next block.
    #[error("block at byte {offset} refers to interface {interface}, which is not described")]
    UndescribedInterface {
        /// Where the block begins.
        offset: u64,
        /// The interface's number.
        interface: u32,
    },
    /// A section describes more than [`MAX_INTERFACES`](crate::read::MAX_INTERFACES). Reading
    /// goes on, without this interface.
    #[error("interface block at byte {offset} is one more than a section may have")]
    TooManyInterfaces {
        /// Where the block begins.
        offset: u64,
    },
}
