//! Maps of sparse files: GNU's old map in header blocks, and its three PAX versions.

use super::Problem;

/// A run of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its offset in the file.
    pub offset: u64,
    /// Its size in bytes. In the archive, it directly follows the segment before.
    pub length: u64,
}

/// Segments in ascending order, without overlaps, within the file's size, and together as long as the stored content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap(Vec<Segment>);

impl SparseMap {
    /// Checks a map against the file's `size` and the number of bytes `stored` in the archive.
    pub fn new(segments: Vec<Segment>, size: u64, stored: u64) -> Result<SparseMap, Problem> {
        let (mut end, mut sum) = (0u64, 0u64);
        for segment in &segments {
            if segment.offset < end {
                return Err(Problem::Sparse("segments overlap, or are out of order"));
            }
            end = segment
                .offset
                .checked_add(segment.length)
                .ok_or(Problem::Sparse("a segment's end is too large"))?;
            // Cannot overflow: the lengths of disjoint segments sum to at most `end`.
            sum += segment.length;
        }
        if end > size {
            return Err(Problem::Sparse("a segment goes past the end of the file"));
        }
        if sum != stored {
            return Err(Problem::Sparse(
                "the segments are not as long as the stored content",
            ));
        }
        Ok(SparseMap(segments))
    }

    /// The segments in ascending order.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }
}

/// All PAX records about a sparse file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    /// `GNU.sparse.major`. 1 means that the map is at the beginning of the content.
    pub major: Option<u64>,
    /// `GNU.sparse.minor`.
    pub minor: Option<u64>,
    /// `GNU.sparse.name`: the file's name. The header has a placeholder.
    pub name: Option<Vec<u8>>,
    /// `GNU.sparse.size` (versions 0.x) or `GNU.sparse.realsize` (1.0).
    pub real_size: Option<u64>,
    /// Version 0.0: an `offset` without its `numbytes` yet.
    pub open_offset: Option<u64>,
    /// Versions 0.x: the map, if a record mentioned it, even without segments.
    pub map: Option<Vec<Segment>>,
}

impl SparseRecords {
    /// Reads one `GNU.sparse.` record. `key` is what follows that prefix.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.real_size = Some(decimal(value)?),
            b"numblocks" => {
                decimal(value)?;
                self.map.get_or_insert_default();
            }
            b"offset" => {
                if self.open_offset.replace(decimal(value)?).is_some() {
                    return Err(Problem::Sparse("two offsets without a length between them"));
                }
            }
            b"numbytes" => {
                let offset = self
                    .open_offset
                    .take()
                    .ok_or(Problem::Sparse("a length without an offset"))?;
                self.map.get_or_insert_default().push(Segment {
                    offset,
                    length: decimal(value)?,
                });
            }
            b"map" => self.map = Some(map_from_list(value)?),
            _ => return Err(Problem::Sparse("an unknown GNU.sparse record")),
        }
        Ok(())
    }
}

/// Version 0.1: `offset,length,offset,length,…`
fn map_from_list(value: &[u8]) -> Result<Vec<Segment>, Problem> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let mut numbers = value.split(|&b| b == b',');
    let mut segments = Vec::new();
    while let Some(offset) = numbers.next() {
        let length = numbers
            .next()
            .ok_or(Problem::Sparse("a list with an odd number of values"))?;
        segments.push(Segment {
            offset: decimal(offset)?,
            length: decimal(length)?,
        });
    }
    Ok(segments)
}

/// Version 1.0: the map precedes the content, as decimal lines, padded to a whole block. Reads block by block until it is complete.
#[derive(Debug, Default)]
pub(crate) struct MapReader {
    line: Vec<u8>,
    expected: Option<u64>,
    numbers: Vec<u64>,
}

impl MapReader {
    /// Reads one block. Returns the map after its last line.
    pub fn block(&mut self, block: &[u8]) -> Result<Option<Vec<Segment>>, Problem> {
        for &byte in block {
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() > 20 {
                    return Err(Problem::Sparse("a line of the map is not a number"));
                }
                continue;
            }
            let number = decimal(&self.line)?;
            self.line.clear();
            match self.expected {
                None => self.expected = Some(number),
                Some(_) => self.numbers.push(number),
            }
            if self
                .expected
                .is_some_and(|count| self.numbers.len() as u64 == count.saturating_mul(2))
            {
                let pairs = self.numbers.chunks_exact(2);
                return Ok(Some(
                    pairs
                        .map(|pair| Segment {
                            offset: pair[0],
                            length: pair[1],
                        })
                        .collect(),
                ));
            }
        }
        Ok(None)
    }
}

fn decimal(digits: &[u8]) -> Result<u64, Problem> {
    let text = std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    text.and_then(|text| text.parse().ok())
        .filter(|&number| number <= i64::MAX as u64)
        .ok_or(Problem::Sparse("not a number"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn segments(pairs: &[(u64, u64)]) -> Vec<Segment> {
        pairs
            .iter()
            .map(|&(offset, length)| Segment { offset, length })
            .collect()
    }

    #[test]
    fn maps_are_checked() {
        assert!(SparseMap::new(segments(&[(0, 5), (10, 5), (20, 0)]), 20, 10).is_ok());
        assert!(
            SparseMap::new(segments(&[(10, 5), (0, 5)]), 20, 10).is_err(),
            "order"
        );
        assert!(
            SparseMap::new(segments(&[(0, 5), (4, 5)]), 20, 10).is_err(),
            "overlap"
        );
        assert!(
            SparseMap::new(segments(&[(0, 5)]), 4, 5).is_err(),
            "past the end"
        );
        assert!(
            SparseMap::new(segments(&[(0, 5)]), 5, 6).is_err(),
            "not what is stored"
        );
        assert!(
            SparseMap::new(segments(&[(u64::MAX, 5)]), 5, 6).is_err(),
            "overflow"
        );
    }

    #[test]
    fn maps_are_read_from_content() {
        let mut reader = MapReader::default();
        assert_eq!(reader.block(b"2\n0\n5\n1").unwrap(), None);
        assert_eq!(
            reader.block(b"0\n7\n\0\0\0").unwrap(),
            Some(segments(&[(0, 5), (10, 7)]))
        );
        assert!(MapReader::default().block(b"1\n-1\n").is_err());
        assert!(MapReader::default().block(&[b'1'; 30]).is_err());
    }

    #[test]
    fn maps_are_read_from_a_list() {
        assert_eq!(
            map_from_list(b"0,5,10,7").unwrap(),
            segments(&[(0, 5), (10, 7)])
        );
        assert!(map_from_list(b"0,5,10").is_err());
        assert!(map_from_list(b"0,x").is_err());
    }
}
