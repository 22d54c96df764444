//! A tar writer that writes whatever it is told, wrong things too.

use std::io::Write;

pub const BLOCK: usize = 512;

/// An archive in the making.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

/// One header; what is not set is that of an empty regular file of root's with mode 0644.
#[derive(Clone)]
pub struct Head {
    block: [u8; BLOCK],
}

impl Head {
    pub fn new(kind: u8, name: impl AsRef<[u8]>) -> Head {
        let mut head = Head { block: [0; BLOCK] };
        head.block[257..265].copy_from_slice(b"ustar\x0000");
        head.block[156] = kind;
        head.set(0, name.as_ref())
            .mode(0o644)
            .owner(0, 0)
            .size(0)
            .mtime(1_600_000_000)
            .device(0, 0)
    }

    pub fn mode(self, mode: u32) -> Head {
        self.set(100, format!("{mode:07o}\0").as_bytes())
    }

    pub fn owner(self, uid: u32, gid: u32) -> Head {
        self.set(108, format!("{uid:07o}\0").as_bytes())
            .set(116, format!("{gid:07o}\0").as_bytes())
    }

    pub fn size(self, size: u64) -> Head {
        self.set(124, format!("{size:011o}\0").as_bytes())
    }

    pub fn mtime(self, seconds: u64) -> Head {
        self.set(136, format!("{seconds:011o}\0").as_bytes())
    }

    pub fn link(self, target: impl AsRef<[u8]>) -> Head {
        self.set(157, target.as_ref())
    }

    pub fn device(self, major: u32, minor: u32) -> Head {
        self.set(329, format!("{major:07o}\0").as_bytes())
            .set(337, format!("{minor:07o}\0").as_bytes())
    }

    pub fn prefix(self, prefix: impl AsRef<[u8]>) -> Head {
        self.set(345, prefix.as_ref())
    }

    /// Old GNU: magic, and the sparse map with its real size.
    pub fn gnu_sparse(self, map: &[(u64, u64)], more: bool, real_size: u64) -> Head {
        let mut head = self.set(257, b"ustar  \0").set(345, &[0; 155]);
        for (index, (offset, length)) in map.iter().enumerate() {
            let at = 386 + index * 24;
            head = head.set(at, format!("{offset:011o}\0{length:011o}\0").as_bytes());
        }
        head.set(482, &[u8::from(more)])
            .set(483, format!("{real_size:011o}\0").as_bytes())
    }

    /// Any bytes at any place.
    pub fn set(mut self, at: usize, bytes: &[u8]) -> Head {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The block with its checksum.
    pub fn block(mut self) -> [u8; BLOCK] {
        self.block[148..156].fill(b' ');
        let sum: u32 = self.block.iter().map(|&b| u32::from(b)).sum();
        self.block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.block
    }
}

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Tar {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub fn head(self, head: Head) -> Tar {
        self.raw(head.block())
    }

    /// A header and the content it tells the size of.
    pub fn with(self, head: Head, content: impl AsRef<[u8]>) -> Tar {
        let content = content.as_ref();
        let padding = content.len().wrapping_neg() % BLOCK;
        self.head(head.size(content.len() as u64))
            .raw(content)
            .raw(vec![0; padding])
    }

    pub fn file(self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Tar {
        self.with(Head::new(b'0', name), content)
    }

    pub fn dir(self, name: impl AsRef<[u8]>) -> Tar {
        self.head(Head::new(b'5', name).mode(0o755))
    }

    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Tar {
        let target = target.as_ref();
        match target.len() {
            ..=100 => self.head(Head::new(b'2', name).link(target)),
            _ => self
                .pax(&[(&b"linkpath"[..], target)])
                .head(Head::new(b'2', name).link("x")),
        }
    }

    pub fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Tar {
        let target = target.as_ref();
        match target.len() {
            ..=100 => self.head(Head::new(b'1', name).link(target)),
            _ => self
                .pax(&[(&b"linkpath"[..], target)])
                .head(Head::new(b'1', name).link("x")),
        }
    }

    pub fn fifo(self, name: impl AsRef<[u8]>) -> Tar {
        self.head(Head::new(b'6', name))
    }

    pub fn char_device(self, name: impl AsRef<[u8]>, major: u32, minor: u32) -> Tar {
        self.head(Head::new(b'3', name).device(major, minor))
    }

    /// An extended header with these records.
    pub fn pax<K: AsRef<[u8]>, V: AsRef<[u8]>>(self, records: &[(K, V)]) -> Tar {
        let text: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key.as_ref(), value.as_ref()))
            .collect();
        self.pax_text(b'x', text)
    }

    /// A global extended header.
    pub fn global(self, records: &[(&str, &str)]) -> Tar {
        let text: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key.as_bytes(), value.as_bytes()))
            .collect();
        self.pax_text(b'g', text)
    }

    pub fn pax_text(self, kind: u8, text: impl AsRef<[u8]>) -> Tar {
        self.with(Head::new(kind, "extended"), text)
    }

    /// GNU's long name (`L`) or long link (`K`) for the next header.
    pub fn gnu_long(self, kind: u8, text: impl AsRef<[u8]>) -> Tar {
        let text = [text.as_ref(), b"\0"].concat();
        self.with(
            Head::new(kind, "././@LongLink").set(257, b"ustar  \0"),
            text,
        )
    }

    /// The archive with its two blocks of zeros.
    pub fn end(self) -> Vec<u8> {
        self.raw([0; 2 * BLOCK]).0
    }

    /// The archive as it is, without an end.
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}

/// `length key=value\n`, where the length counts itself.
pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(data: &[u8], preset: u32) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), preset);
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
