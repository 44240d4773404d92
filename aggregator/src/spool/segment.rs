//! The segment: a sealed batch, immutable from the moment it has its name.
//!
//! Magic, length and hash of the header, the header as JSON, then the blocks: each the rows of one table and one
//! day as one block of ClickHouse's Native format, compressed with zstd. One block is one insert; its token never
//! stands for other rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::event::Event;

const MAGIC: &[u8; 8] = b"VARDESG1";
const PRELUDE: usize = 8 + 4 + 32;
const HEADER_MAX_BYTES: usize = 16 << 20;
/// The quickest level: shipping must keep up with the parser, and ClickHouse compresses once more.
const ZSTD_LEVEL: i32 = 1;

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Who sealed it.
    pub shipper: String,
    /// The life of the spool's folder.
    pub epoch: String,
    /// Its place in that life.
    pub sequence: u64,
    /// Where the source stands once this is acknowledged, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    /// What it holds, in the order in which it is sent.
    pub blocks: Vec<Block>,
}

/// One block of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The table.
    pub table: String,
    /// Days since 1970-01-01: the partition.
    pub day: i64,
    /// How many rows.
    pub rows: u64,
    /// Its length in the file, compressed.
    bytes: u64,
    /// BLAKE3 of that.
    hash: String,
}

impl Header {
    /// What ClickHouse knows this block by: the same token is the same rows, for ever.
    pub fn token(&self, block: &Block) -> String {
        let (sequence, day) = (self.sequence.to_string(), block.day.to_string());
        [&self.shipper, &self.epoch, &sequence, &block.table, &day].map(String::as_str).join("/")
    }

    /// Where the source stands once this is acknowledged.
    pub fn checkpoint(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.checkpoint.as_ref()?).ok()
    }

    /// The rows of all blocks.
    pub fn rows(&self) -> u64 {
        self.blocks.iter().map(|block| block.rows).sum()
    }
}

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not there any more.
    #[error("it is gone")]
    Gone,
    /// Its octets are not those that were written. Trying again does not help.
    #[error("it is damaged: {0}")]
    Corrupt(&'static str),
    /// The disk does not answer now.
    #[error("it cannot be read: {0}")]
    Disk(io::Error),
}

impl From<io::Error> for Fault {
    fn from(why: io::Error) -> Self {
        match why.kind() {
            io::ErrorKind::NotFound => Fault::Gone,
            io::ErrorKind::UnexpectedEof => Fault::Corrupt("the file is too short"),
            _ if why.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                Fault::Corrupt("the disk reports an error in it")
            }
            _ => Fault::Disk(why),
        }
    }
}

/// The whole file of a segment. The same events in the same order give the same blocks.
pub(crate) fn encode(
    shipper: &str,
    epoch: &str,
    sequence: u64,
    events: &[Event],
    checkpoint: Option<&[u8]>,
) -> io::Result<Vec<u8>> {
    let mut groups: BTreeMap<(&'static str, i64), Vec<&Event>> = BTreeMap::new();
    for event in events {
        groups.entry((event.table(), event.ts().day())).or_default().push(event);
    }
    let (mut blocks, mut body, mut native) = (Vec::new(), Vec::new(), Vec::new());
    for ((table, day), rows) in groups {
        native.clear();
        let rows = Event::write_block(table, &rows, &mut native) as u64;
        let packed = zstd::bulk::compress(&native, ZSTD_LEVEL)?;
        let hash = blake3::hash(&packed).to_hex().to_string();
        blocks.push(Block { table: table.to_owned(), day, rows, bytes: packed.len() as u64, hash });
        body.extend_from_slice(&packed);
    }
    let header = Header {
        shipper: shipper.to_owned(),
        epoch: epoch.to_owned(),
        sequence,
        checkpoint: checkpoint.map(|checkpoint| BASE64.encode(checkpoint)),
        blocks,
    };
    let header = serde_json::to_vec(&header)?;
    let mut file = Vec::with_capacity(PRELUDE + header.len() + body.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(header.len() as u32).to_le_bytes());
    file.extend_from_slice(blake3::hash(&header).as_bytes());
    file.extend_from_slice(&header);
    file.extend_from_slice(&body);
    Ok(file)
}

/// An open segment. Blocks are read one at a time, so a backlog costs disk and not memory.
#[derive(Debug)]
pub struct Segment {
    file: File,
    /// What it holds.
    pub header: Header,
    body: u64,
}

impl Segment {
    /// Opens a segment and checks its header.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let file = File::open(path)?;
        let mut prelude = [0; PRELUDE];
        file.read_exact_at(&mut prelude, 0)?;
        if &prelude[..8] != MAGIC {
            return Err(Fault::Corrupt("it does not begin as a segment"));
        }
        let length = u32::from_le_bytes([prelude[8], prelude[9], prelude[10], prelude[11]]) as usize;
        if length > HEADER_MAX_BYTES {
            return Err(Fault::Corrupt("the header's length"));
        }
        let mut header = vec![0; length];
        file.read_exact_at(&mut header, PRELUDE as u64)?;
        if blake3::hash(&header).as_bytes()[..] != prelude[12..] {
            return Err(Fault::Corrupt("the header's hash"));
        }
        let header = serde_json::from_slice(&header).map_err(|_| Fault::Corrupt("the header"))?;
        Ok(Self { file, header, body: (PRELUDE + length) as u64 })
    }

    /// Opens a segment and checks every octet of it.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn verify(path: &Path) -> Result<Self, Fault> {
        let segment = Self::open(path)?;
        for index in 0..segment.header.blocks.len() {
            segment.block(index)?;
        }
        Ok(segment)
    }

    /// The octets of a block, compressed, as they are sent.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn block(&self, index: usize) -> Result<Vec<u8>, Fault> {
        let before: u64 = self.header.blocks.iter().take(index).map(|block| block.bytes).sum();
        let block = self.header.blocks.get(index).ok_or(Fault::Corrupt("it has no such block"))?;
        let left = self.file.metadata()?.len().saturating_sub(self.body + before);
        if block.bytes > left {
            return Err(Fault::Corrupt("the file is too short"));
        }
        let mut packed = vec![0; block.bytes as usize];
        self.file.read_exact_at(&mut packed, self.body + before)?;
        if blake3::hash(&packed).to_hex().as_str() != block.hash {
            return Err(Fault::Corrupt("the hash of a block"));
        }
        Ok(packed)
    }
}
