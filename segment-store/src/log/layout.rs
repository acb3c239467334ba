//! Byte-exact layout of the hot log's files; also in `docs/formats/hot-log.md`.
//!
//! A file starts with one block of 4096 bytes; groups follow, each at a multiple of 4096, until one does not fit.
//!
//! ```text
//! file header                              group header
//! 0..4    magic "SXL1"                     0..4    magic "SXG1"
//! 4..8    version 1, u32                   4..8    bytes of entries behind the header, u32
//! 8..24   cluster id, u128                 8..16   sequence number, u64, from 1
//! 24..32  node id, u64                     16..24  node id, u64
//! 32..36  file number, u32, from 1         24..28  file number, u32
//! 36..40  reserved, zero                   28..32  number of entries, u32
//! 40..48  sequence of its first group      32..36  CRC32C of bytes 0..32 and of the entries
//! 48..52  CRC32C of bytes 0..48            36..40  reserved, zero
//! 52..4096 zero                            40..    entries, then zeros up to a multiple of 4096
//! ```

use sextant_redo::codec::{DecodeError, Reader};
use sextant_redo::{ClusterId, NodeId};

use crate::disk::{ALIGN, align_up};

const FILE_MAGIC: [u8; 4] = *b"SXL1";
const GROUP_MAGIC: [u8; 4] = *b"SXG1";
const VERSION: u32 = 1;
const FILE_CRC_AT: usize = 48;
const GROUP_CRC_AT: usize = 32;

/// Bytes before the first group.
pub(crate) const FILE_HEADER: usize = ALIGN;
/// Bytes of a group before its entries.
pub(crate) const GROUP_HEADER: usize = 40;

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// Why a block is not the header it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// No header starts here.
    #[error("no log header here")]
    Magic,
    /// Too short.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// Damaged, or never completely written.
    #[error("checksum is {stored:#010x} but the bytes give {computed:#010x}")]
    Checksum {
        /// As found.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// A newer program wrote it.
    #[error("log format version {found} is not known to this program")]
    Version {
        /// As found.
        found: u32,
    },
    /// Whole, but of another node, file or place in the sequence.
    #[error("it belongs to another {what}")]
    Foreign {
        /// Another what.
        what: &'static str,
    },
}

/// First block of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// Whose.
    pub identity: LogIdentity,
    /// Which file.
    pub number: u32,
    /// Sequence of its first group.
    pub first_sequence: u64,
}

fn crc_matches(stored: u32, computed: u32) -> Result<(), LayoutError> {
    if stored == computed { Ok(()) } else { Err(LayoutError::Checksum { stored, computed }) }
}

impl FileHeader {
    /// Writes the header into the first block.
    pub fn encode(&self, block: &mut [u8]) {
        block[..ALIGN].fill(0);
        block[0..4].copy_from_slice(&FILE_MAGIC);
        block[4..8].copy_from_slice(&VERSION.to_le_bytes());
        block[8..24].copy_from_slice(&self.identity.cluster.0.to_le_bytes());
        block[24..32].copy_from_slice(&self.identity.node.0.to_le_bytes());
        block[32..36].copy_from_slice(&self.number.to_le_bytes());
        block[40..48].copy_from_slice(&self.first_sequence.to_le_bytes());
        let crc = crc32c::crc32c(&block[..FILE_CRC_AT]);
        block[FILE_CRC_AT..FILE_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header of any node's file.
    pub fn decode(block: &[u8]) -> Result<FileHeader, LayoutError> {
        let mut r = Reader::new(block);
        if r.bytes(4)? != FILE_MAGIC {
            return Err(LayoutError::Magic);
        }
        let version = r.u32()?;
        let identity = LogIdentity { cluster: ClusterId(r.u128()?), node: NodeId(r.u64()?) };
        let number = r.u32()?;
        r.u32()?;
        let first_sequence = r.u64()?;
        crc_matches(r.u32()?, crc32c::crc32c(&block[..FILE_CRC_AT]))?;
        if version != VERSION {
            return Err(LayoutError::Version { found: version });
        }
        Ok(FileHeader { identity, number, first_sequence })
    }
}

/// What stands in front of a group's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// Bytes of entries.
    pub payload: u32,
    /// Its place in the log.
    pub sequence: u64,
    /// Whose.
    pub node: NodeId,
    /// In which file.
    pub file: u32,
    /// How many entries.
    pub entries: u32,
}

impl GroupHeader {
    /// Bytes that the group takes in its file.
    #[must_use]
    pub fn space(&self) -> usize {
        align_up(GROUP_HEADER + self.payload as usize)
    }

    /// Writes the header in front of the entries that already lie in `group` behind it.
    pub fn encode(&self, group: &mut [u8]) {
        let end = GROUP_HEADER + self.payload as usize;
        group[..GROUP_HEADER].fill(0);
        group[0..4].copy_from_slice(&GROUP_MAGIC);
        group[4..8].copy_from_slice(&self.payload.to_le_bytes());
        group[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        group[16..24].copy_from_slice(&self.node.0.to_le_bytes());
        group[24..28].copy_from_slice(&self.file.to_le_bytes());
        group[28..32].copy_from_slice(&self.entries.to_le_bytes());
        let crc = group_crc(&group[..end]);
        group[GROUP_CRC_AT..GROUP_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads a group's header and checks the whole group, which starts `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<GroupHeader, LayoutError> {
        let mut r = Reader::new(bytes);
        if r.bytes(4)? != GROUP_MAGIC {
            return Err(LayoutError::Magic);
        }
        let header = GroupHeader {
            payload: r.u32()?,
            sequence: r.u64()?,
            node: NodeId(r.u64()?),
            file: r.u32()?,
            entries: r.u32()?,
        };
        let stored = r.u32()?;
        let end = GROUP_HEADER + header.payload as usize;
        let group = bytes.get(..end).ok_or(DecodeError::Truncated)?;
        crc_matches(stored, group_crc(group))?;
        Ok(header)
    }

    /// True when `bytes` start like a group: what a torn one looks like.
    #[must_use]
    pub fn looks_begun(bytes: &[u8], sequence: u64) -> bool {
        bytes.starts_with(&GROUP_MAGIC) && bytes.get(8..16) == Some(&sequence.to_le_bytes()[..])
    }
}

fn group_crc(group: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&group[..GROUP_CRC_AT]), &group[GROUP_HEADER..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: LogIdentity = LogIdentity { cluster: ClusterId(9), node: NodeId(3) };

    #[test]
    fn headers_round_trip_and_every_flipped_bit_is_found() {
        let header = FileHeader { identity: IDENTITY, number: 7, first_sequence: 99 };
        let mut block = vec![1; ALIGN];
        header.encode(&mut block);
        assert_eq!(FileHeader::decode(&block), Ok(header));
        for at in 0..FILE_CRC_AT + 4 {
            let mut bad = block.clone();
            bad[at] ^= 0x20;
            assert!(FileHeader::decode(&bad).is_err(), "byte {at}");
        }
        let group = GroupHeader { payload: 10, sequence: 5, node: NodeId(3), file: 7, entries: 1 };
        let mut bytes = vec![8; GROUP_HEADER + 10];
        group.encode(&mut bytes);
        assert_eq!(GroupHeader::decode(&bytes), Ok(group));
        for at in (0..GROUP_CRC_AT + 4).chain(GROUP_HEADER..bytes.len()) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x20;
            assert!(GroupHeader::decode(&bad).is_err(), "byte {at}");
        }
        assert_eq!(group.space(), ALIGN);
    }
}
