#![allow(clippy::unwrap_used)]
use std::io::Write;

use super::*;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

struct Collected {
    room: [u8; 4096],
    bytes: Vec<u8>,
}

impl Buffers for Collected {
    fn spare(&mut self) -> &mut [u8] {
        &mut self.room
    }

    fn filled(&mut self, count: usize) {
        self.bytes.extend_from_slice(&self.room[..count]);
    }
}

fn decode(input: &[u8], piece: usize, limits: Limits) -> Result<Vec<u8>, Problem> {
    let mut decoder = Decoder::new(limits);
    let mut output = Collected {
        room: [0; 4096],
        bytes: Vec::new(),
    };
    for piece in input.chunks(piece) {
        decoder.write(piece, &mut output)?;
    }
    decoder.finish(&mut output)?;
    Ok(output.bytes)
}

fn content() -> Vec<u8> {
    (0..300_000u32)
        .flat_map(|n| (n / 7).to_le_bytes())
        .collect()
}

type Packer = fn(&[u8]) -> Vec<u8>;
const PACKERS: [Packer; 4] = [gzip, bzip2, xz, zstd];

#[test]
fn every_format_decodes_in_pieces_of_any_size() {
    let content = content();
    for pack in PACKERS {
        let packed = pack(&content);
        for piece in [1, 7, 4096, packed.len()] {
            assert!(decode(&packed, piece, Limits::default()).unwrap() == content);
        }
    }
    assert_eq!(decode(b"plain", 2, Limits::default()).unwrap(), b"plain");
    assert_eq!(
        decode(b"plain bytes", 100, Limits::default()).unwrap(),
        b"plain bytes"
    );
}

#[test]
fn concatenated_streams_are_one() {
    let content = content();
    let (first, second) = content.split_at(100_000);
    for pack in PACKERS {
        let packed = [pack(first), pack(second), pack(b"")].concat();
        for piece in [1, 1000, packed.len()] {
            assert!(decode(&packed, piece, Limits::default()).unwrap() == content);
        }
    }
}

#[test]
fn skippable_zstd_frames_may_be_anywhere() {
    // RFC 8878, section 3.1.2: a magic number of sixteen, a length, and that many bytes that mean nothing.
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
    let content = content();
    let packed = [skippable.clone(), zstd(&content), skippable].concat();
    for piece in [1, 1000, packed.len()] {
        assert!(decode(&packed, piece, Limits::default()).unwrap() == content);
    }
}

#[test]
fn cut_streams_are_refused() {
    let content = content();
    for pack in PACKERS {
        let packed = pack(&content);
        for end in [7, packed.len() / 2, packed.len() - 1] {
            let result = decode(&packed[..end], 1000, Limits::default());
            assert!(
                matches!(result, Err(Problem::CompressedCut { .. })),
                "{result:?}"
            );
        }
    }
}

#[test]
fn flipped_bits_are_refused() {
    let content = content();
    for pack in PACKERS {
        let mut packed = pack(&content);
        let middle = packed.len() / 2;
        packed[middle] ^= 0x10;
        let result = decode(&packed, 1000, Limits::default()).map(|bytes| bytes.len());
        assert!(
            matches!(
                result,
                Err(Problem::Compressed { .. } | Problem::CompressedCut { .. })
            ),
            "{result:?}"
        );
    }
}

#[test]
fn a_failed_decoder_stays_failed() {
    for pack in PACKERS {
        let mut packed = pack(&content());
        packed[100] ^= 0xff;
        let mut output = Collected {
            room: [0; 4096],
            bytes: Vec::new(),
        };
        let mut decoder = Decoder::new(Limits::default());
        let results: Vec<_> = packed
            .chunks(50)
            .map(|piece| decoder.write(piece, &mut output))
            .collect();
        let failed = results.iter().skip_while(|result| result.is_ok());
        assert!(failed.clone().all(|result| result.is_err()));
        assert_eq!(
            decoder.finish(&mut output).err(),
            failed.last().and_then(|result| result.clone().err())
        );
    }
}

#[test]
fn a_wrong_gzip_checksum_is_refused() {
    let mut packed = gzip(b"content");
    let crc = packed.len() - 8;
    packed[crc] ^= 1;
    assert!(matches!(
        decode(&packed, 1, Limits::default()),
        Err(Problem::Compressed { .. })
    ));
}

#[test]
fn garbage_behind_the_stream_is_refused_and_zeros_behind_gzip_are_not() {
    for pack in PACKERS {
        let packed = [pack(b"content"), b"garbage behind it".to_vec()].concat();
        for piece in [1, packed.len()] {
            assert!(decode(&packed, piece, Limits::default()).is_err());
        }
    }
    let padded = [gzip(b"content"), vec![0; 100]].concat();
    assert_eq!(decode(&padded, 9, Limits::default()).unwrap(), b"content");
    let padded = [gzip(b"content"), vec![0; 100], gzip(b"more")].concat();
    assert!(decode(&padded, 9, Limits::default()).is_err());
}

#[test]
fn limits_hold() {
    let few = Limits {
        bytes: 1000,
        ..Limits::default()
    };
    for pack in PACKERS {
        let result = decode(&pack(&content()), 1000, few.clone());
        assert!(
            matches!(
                result,
                Err(Problem::Limit {
                    limit: LimitKind::Bytes,
                    allowed: 1000,
                    ..
                })
            ),
            "{result:?}"
        );
    }
    let narrow = Limits {
        window: 1 << 20,
        ..Limits::default()
    };
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(&content()).unwrap();
    exceeds_the_window(decode(&encoder.finish().unwrap(), 1000, narrow.clone()));
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(25).unwrap();
    encoder.write_all(&content()).unwrap();
    exceeds_the_window(decode(&encoder.finish().unwrap(), 1000, narrow));
}

/// A limit, not damage.
#[track_caller]
fn exceeds_the_window<T: std::fmt::Debug>(result: Result<T, Problem>) {
    assert!(
        matches!(
            result,
            Err(Problem::Window {
                allowed: 1_048_576,
                ..
            })
        ),
        "{result:?}"
    );
}
