//! Bodies in compressed form, with a bound on what they may grow to.

use std::io::Read;

use super::exception::{Exception, code};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `Content-Encoding: gzip`.
    Gzip,
    /// `Content-Encoding: deflate`, which is zlib's form (RFC 9110 section 8.4.1.2).
    Deflate,
    /// `Content-Encoding: zstd`.
    Zstd,
    /// `Content-Encoding: lz4`, the LZ4 frame format, which clickhouse-connect sends.
    Lz4,
    /// `decompress=1`: ClickHouse's own frames with LZ4, as its clients send them.
    Native,
}

/// The checksum, the method, both sizes.
const FRAME_HEAD: usize = 16 + 1 + 4 + 4;
/// No client makes larger ones: the engine's own limit is 1 GiB, its clients' blocks are 1 MiB.
const MAX_FRAME_BYTES: usize = 128 << 20;

/// The body in plain form, at most `limit` bytes of it.
///
/// # Errors
/// The body is damaged, or would be longer than `limit`.
pub fn decode(encoding: Encoding, body: &[u8], limit: usize) -> Result<Vec<u8>, Exception> {
    match encoding {
        Encoding::Gzip => read_all(flate2::read::MultiGzDecoder::new(body), limit),
        Encoding::Deflate => read_all(flate2::read::ZlibDecoder::new(body), limit),
        Encoding::Zstd => read_all(zstd::stream::read::Decoder::with_buffer(body).map_err(damaged_by)?, limit),
        Encoding::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(body), limit),
        Encoding::Native => decode_native(body, limit),
    }
}

fn damaged(what: &str) -> Exception {
    Exception::new(code::CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", what)
}

fn damaged_by(error: std::io::Error) -> Exception {
    damaged(&error.to_string())
}

/// The refusal of a body that is too long.
pub fn too_long(limit: usize) -> Exception {
    let message = ["the body is longer than ", &(limit >> 20).to_string(), " MiB: send smaller batches"].concat();
    Exception::new(code::LIMIT_EXCEEDED, "LIMIT_EXCEEDED", &message)
}

fn read_all(reader: impl Read, limit: usize) -> Result<Vec<u8>, Exception> {
    let mut plain = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut plain).map_err(damaged_by)?;
    if plain.len() > limit { Err(too_long(limit)) } else { Ok(plain) }
}

/// Frames one after another: CityHash 1.0.2 of what follows it (its halves swapped), method, size with
/// head, size of the plain data, data.
fn decode_native(mut body: &[u8], limit: usize) -> Result<Vec<u8>, Exception> {
    let mut plain = Vec::new();
    while !body.is_empty() {
        let head = body.get(..FRAME_HEAD).ok_or_else(|| damaged("a frame's head is cut off"))?;
        let size = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (packed, unpacked) = (size(17), size(21));
        if packed > MAX_FRAME_BYTES || unpacked > MAX_FRAME_BYTES {
            return Err(damaged("a frame is larger than 128 MiB"));
        }
        if packed < 9 || body.len() < 16 + packed {
            return Err(damaged("a frame is cut off"));
        }
        let mut sum = [0; 16];
        sum.copy_from_slice(&head[..16]);
        if cityhash_rs::cityhash_102_128(&body[16..16 + packed]).rotate_left(64) != u128::from_le_bytes(sum) {
            return Err(damaged("a frame's checksum does not match"));
        }
        if plain.len() + unpacked > limit {
            return Err(too_long(limit));
        }
        let data = &body[FRAME_HEAD..16 + packed];
        let start = plain.len();
        plain.resize(start + unpacked, 0);
        let written = match head[16] {
            0x82 => lz4_flex::block::decompress_into(data, &mut plain[start..]).map_err(|e| damaged(&e.to_string()))?,
            0x90 => zstd::bulk::decompress_to_buffer(data, &mut plain[start..]).map_err(damaged_by)?,
            0x02 if data.len() == unpacked => {
                plain[start..].copy_from_slice(data);
                unpacked
            }
            _ => return Err(damaged("a frame's method is none of LZ4, ZSTD and NONE")),
        };
        if written != unpacked {
            return Err(damaged("a frame is shorter than it says"));
        }
        body = &body[16 + packed..];
    }
    Ok(plain)
}

/// One frame of ClickHouse's own form with LZ4, for tests of this face.
#[cfg(test)]
pub(super) fn encode_native(plain: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(plain);
    let mut rest = vec![0x82];
    rest.extend((packed.len() as u32 + 9).to_le_bytes());
    rest.extend((plain.len() as u32).to_le_bytes());
    rest.extend(packed);
    let mut frame = cityhash_rs::cityhash_102_128(&rest).rotate_left(64).to_le_bytes().to_vec();
    frame.extend(rest);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_frames_follow_one_another() {
        let (first, second) = (vec![7; 100_000], b"the end".to_vec());
        let body = [encode_native(&first), encode_native(&second)].concat();
        assert_eq!(decode(Encoding::Native, &body, 1 << 20).unwrap(), [first, second].concat());
    }

    #[test]
    fn damage_is_found() {
        let frame = encode_native(b"some rows, some rows, some rows");
        for at in 0..frame.len() {
            let mut broken = frame.clone();
            broken[at] ^= 1;
            assert_eq!(decode(Encoding::Native, &broken, 1 << 20).unwrap_err().code, code::CANNOT_DECOMPRESS, "{at}");
        }
        for end in 1..frame.len() {
            assert_eq!(decode(Encoding::Native, &frame[..end], 1 << 20).unwrap_err().code, code::CANNOT_DECOMPRESS);
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let bomb = zstd::bulk::compress(&vec![0; 10 << 20], 3).unwrap();
        assert_eq!(decode(Encoding::Zstd, &bomb, 1 << 20).unwrap_err().code, code::LIMIT_EXCEEDED);
        let frame = encode_native(&vec![0; 2 << 20]);
        assert_eq!(decode(Encoding::Native, &frame, 1 << 20).unwrap_err().code, code::LIMIT_EXCEEDED);
        assert_eq!(decode(Encoding::Native, &frame, 2 << 20).unwrap().len(), 2 << 20);
    }
}
