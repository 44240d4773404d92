//! An origin as a stream of uncompressed octets: a plain file, which may grow, a compressed one, an export of systemd's
//! journal (as lines), standard input.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::journal;
use super::origin::HEAD_BYTES;
use crate::event::Time;

/// The window that a zstd file may ask for: 2^25 octets. Larger ones are made only with `zstd --long`.
const ZSTD_WINDOW_LOG: u32 = 25;
/// What a reader decompresses from at once.
const PACKED_CHUNK: usize = 64 << 10;

/// Who a file is on its disk, for as long as it is open.
pub(super) type Inode = (u64, u64);

/// A stream whose first octets are known.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    /// The first octets, uncompressed.
    head: Vec<u8>,
    /// How many of them have been given; the rest comes before what `reader` still has.
    given: usize,
    /// A plain file: it can be asked again, and may grow.
    plain: Option<Arc<File>>,
    /// When it was last written; lines without a year are not later.
    pub(super) modified: Time,
}

/// Counts the octets that are read, as they are on the disk.
struct Counted<R>(R, Arc<AtomicU64>);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(out)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Input {
    /// Opens a file. `read_bytes` counts what is read of it.
    pub(super) fn open(path: &Path, read_bytes: &Arc<AtomicU64>) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder; name the files in it"));
        }
        let modified = modified(&metadata);
        let mut magic = [0; journal::MAGIC.len()];
        let count = if metadata.is_file() { file.read_at(&mut magic, 0)? } else { 0 };
        if !metadata.is_file() || is_packed(&magic[..count]) || magic[..count] == *journal::MAGIC {
            return Self::stream(file, modified, read_bytes);
        }
        let file = Arc::new(file);
        let reader = Box::new(Counted(file.clone(), read_bytes.clone()));
        let mut input = Self { reader, head: Vec::new(), given: 0, plain: Some(file), modified };
        input.learn_more()?;
        Ok(input)
    }

    /// Standard input, or anything else that is read once.
    pub(super) fn stream(
        reader: impl Read + Send + 'static,
        modified: Time,
        read_bytes: &Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let mut packed = io::BufReader::with_capacity(PACKED_CHUNK, Counted(reader, read_bytes.clone()));
        let mut reader: Box<dyn Read + Send> = match packed.fill_buf()? {
            [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let mut reader = zstd::stream::read::Decoder::with_buffer(packed)?;
                reader.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(reader)
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(unsupported("xz", "xz -dc")),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', ..] => return Err(unsupported("bzip2", "bzip2 -dc")),
            _ => Box::new(packed),
        };
        let mut begin = Vec::new();
        reader.by_ref().take(journal::MAGIC.len() as u64).read_to_end(&mut begin)?;
        let is_export = begin == journal::MAGIC;
        reader = Box::new(io::Cursor::new(begin).chain(reader));
        if is_export {
            reader = Box::new(journal::Text::new(io::BufReader::with_capacity(PACKED_CHUNK, reader)));
        }
        let mut head = Vec::new();
        reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        Ok(Self { reader, head, given: 0, plain: None, modified })
    }

    /// The first octets, as far as they were there.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Looks whether a plain file has more of its first octets now.
    pub(super) fn learn_more(&mut self) -> io::Result<()> {
        let Some(file) = &self.plain else { return Ok(()) };
        let known = self.head.len();
        self.head.resize(HEAD_BYTES, 0);
        let count = file.read_at(&mut self.head[known..], known as u64);
        self.head.truncate(known + count.as_ref().map_or(0, |count| *count));
        // A plain file is read from its own cursor, head and all.
        self.given = self.head.len();
        count.map(drop)
    }

    /// Forgets what was learnt beyond the first `known` octets.
    pub(super) fn unlearn(&mut self, known: usize) {
        self.head.truncate(known);
        self.given = self.given.min(known);
    }

    /// The file, when it is a plain one.
    pub(super) fn plain(&self) -> Option<&File> {
        self.plain.as_deref()
    }

    /// Skips what has been read before. Fewer than `count` when it ends sooner.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<u64> {
        if let Some(file) = &self.plain {
            let to = count.min(file.metadata()?.len());
            (&**file).seek(SeekFrom::Start(to))?;
            return Ok(to);
        }
        io::copy(&mut self.take(count), &mut io::sink())
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.head.get(self.given..) {
            Some(rest) if !rest.is_empty() => {
                let count = rest.len().min(out.len());
                out[..count].copy_from_slice(&rest[..count]);
                self.given += count;
                Ok(count)
            }
            _ => self.reader.read(out),
        }
    }
}

/// When a file was last written.
pub(super) fn modified(metadata: &Metadata) -> Time {
    Time(metadata.mtime().saturating_mul(1_000_000).saturating_add(metadata.mtime_nsec() / 1_000))
}

/// Who a file is on its disk.
pub(super) fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// Whether a file begins as a compressed one.
fn is_packed(magic: &[u8]) -> bool {
    matches!(
        magic,
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', b'X', b'Z', ..] | [b'B', b'Z', b'h', ..]
    )
}

fn unsupported(what: &str, with: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        ["it is compressed with ", what, ", which is not read here; try: ", with, " FILE | varde import -"].concat(),
    )
}
