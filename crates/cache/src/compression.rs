//! How a layer or an archive is compressed: the one place that knows the formats' first bytes.

/// A compression format, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not compressed, or in no format that is known here.
    None,
    /// [RFC 1952](https://www.rfc-editor.org/rfc/rfc1952), one member or several.
    Gzip,
    /// [RFC 8878](https://www.rfc-editor.org/rfc/rfc8878), one frame or several.
    Zstd,
    /// [The .xz format](https://tukaani.org/xz/xz-file-format.txt), one stream or several.
    Xz,
    /// bzip2, one stream or several.
    Bzip2,
}

impl Compression {
    /// The number of first bytes that tell every format from the others.
    pub const HEAD: usize = 6;

    /// Detects the format by a stream's first bytes, of which there are [`Compression::HEAD`] unless the stream is shorter.
    pub fn detect(head: &[u8]) -> Compression {
        match head {
            // The magic number alone: a stream with another method than deflate is a damaged one, not a plain one.
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // A frame (3.1.1), or a skippable one (3.1.2), with which `pzstd` and `zstd:chunked` layers may begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', block @ ..] if is_bzip2_block(block) => {
                Compression::Bzip2
            }
            _ => Compression::None,
        }
    }

    /// The name that people know the format by; `tar` for none.
    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "tar",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
            Compression::Bzip2 => "bzip2",
        }
    }

    /// The media type of an OCI layer that is compressed so; none where the
    /// [image specification](https://github.com/opencontainers/image-spec/blob/main/layer.md) has no such layers.
    pub fn layer_media_type(self) -> Option<&'static str> {
        match self {
            Compression::None => Some("application/vnd.oci.image.layer.v1.tar"),
            Compression::Gzip => Some("application/vnd.oci.image.layer.v1.tar+gzip"),
            Compression::Zstd => Some("application/vnd.oci.image.layer.v1.tar+zstd"),
            Compression::Xz | Compression::Bzip2 => None,
        }
    }
}

/// Whether what follows the header is the beginning of a block (the digits of pi) or of the end of the stream (those of its square
/// root). The header alone is text, with which the name of a plain archive's first member may begin.
fn is_bzip2_block(block: &[u8]) -> bool {
    const BLOCK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const END: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    let length = block.len().min(BLOCK.len());
    block[..length] == BLOCK[..length] || block[..length] == END[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        for (head, format) in [
            (&[0x1f, 0x8b, 8, 0, 0, 0][..], Compression::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd, 4, 0], Compression::Zstd),
            (&[0x50, 0x2a, 0x4d, 0x18, 4, 0], Compression::Zstd),
            (&[0x5f, 0x2a, 0x4d, 0x18, 4, 0], Compression::Zstd),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"BZh91A", Compression::Bzip2),
            (b"BZh11AY&SY", Compression::Bzip2),
            (b"BZh9\x17r", Compression::Bzip2),
            // Cut short: damaged, not plain.
            (b"BZh9", Compression::Bzip2),
            (&[0x1f, 0x8b], Compression::Gzip),
            (b"", Compression::None),
            (&[0x4f, 0x2a, 0x4d, 0x18, 4, 0], Compression::None),
            (&[0x60, 0x2a, 0x4d, 0x18, 4, 0], Compression::None),
            (b"BZh0.t", Compression::None),
            (b"\xfd7zXZ", Compression::None),
        ] {
            assert_eq!(Compression::detect(head), format, "{head:x?}");
        }
    }

    #[test]
    fn a_plain_archive_may_begin_with_a_name_like_a_header() {
        for name in [b"BZh1/a", b"BZh9.t", b"BZh5\0\0"] {
            assert_eq!(Compression::detect(name), Compression::None, "{name:?}");
        }
    }
}
