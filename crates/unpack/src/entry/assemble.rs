//! Assembling one member from its header and the extended headers before it.

use super::header::{device, names_directory};
use super::name::check_length;
use super::{
    Entry, EntryKind, EntryPath, Header, Metadata, Problem, Records, Segment, SparseMap, TypeFlag,
};
use crate::limits::Limits;

/// A member whose sparse map may not be read yet.
pub(crate) struct Member {
    flag: TypeFlag,
    name: Vec<u8>,
    link: Vec<u8>,
    stored: u64,
    /// The real size of a sparse file.
    real_size: Option<u64>,
    map: Option<Vec<Segment>>,
    map_in_content: bool,
    device: (u64, u64),
    metadata: Metadata,
}

impl Member {
    /// Takes each field from PAX records, or else from GNU long names, or else from the header.
    pub fn new(
        header: &Header<'_>,
        flag: TypeFlag,
        records: &Records,
        long_name: Option<&[u8]>,
        long_link: Option<&[u8]>,
    ) -> Result<Member, Problem> {
        let size = match records.size {
            Some(size) => size,
            None => header.size()?,
        };
        let has_content = matches!(
            flag,
            TypeFlag::Regular | TypeFlag::GnuSparse | TypeFlag::GnuDumpDir
        );
        let mut member = Member {
            flag,
            name: records
                .name()
                .or(long_name)
                .map_or_else(|| header.name(), <[u8]>::to_vec),
            link: records
                .link_path
                .as_deref()
                .or(long_link)
                .unwrap_or(header.link_name())
                .to_vec(),
            // Links, devices and directories have no content, though some writers give them a size.
            stored: if has_content { size } else { 0 },
            real_size: None,
            map: None,
            map_in_content: false,
            device: (0, 0),
            metadata: Metadata {
                mode: header.mode()?,
                uid: records.uid.map_or_else(|| header.uid(), Ok)?,
                gid: records.gid.map_or_else(|| header.gid(), Ok)?,
                mtime: records.mtime.map_or_else(|| header.mtime(), Ok)?,
                xattrs: records.xattrs.clone(),
            },
        };
        if matches!(flag, TypeFlag::CharDevice | TypeFlag::BlockDevice) {
            let major = records.major.map_or_else(|| header.major(), Ok)?;
            let minor = records.minor.map_or_else(|| header.minor(), Ok)?;
            member.device = (major, minor);
        }
        if flag == TypeFlag::GnuSparse {
            member.real_size = Some(header.gnu_sparse()?.2);
        }
        member.take_sparse_records(records)?;
        Ok(member)
    }

    fn take_sparse_records(&mut self, records: &Records) -> Result<(), Problem> {
        let Some(sparse) = &records.sparse else {
            return Ok(());
        };
        if self.flag != TypeFlag::Regular {
            return Err(Problem::Sparse("this is not a regular file"));
        }
        if sparse.open_offset.is_some() {
            return Err(Problem::Sparse("an offset without a length"));
        }
        self.real_size = sparse.real_size;
        match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => self.map_in_content = true,
            (None, None) | (Some(0), Some(0 | 1)) => self.map.clone_from(&sparse.map),
            _ => return Err(Problem::Sparse("unknown version")),
        }
        let complete = self.real_size.is_some() && (self.map_in_content || self.map.is_some());
        // A writer that found no holes leaves only a name or a size: then it is an ordinary file.
        if !complete && (self.map_in_content || self.map.is_some()) {
            return Err(Problem::Sparse("the file's real size is missing"));
        }
        Ok(())
    }

    /// Size of the content after the header, including a map at its beginning.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Whether the sparse map is in the content.
    pub fn map_in_content(&self) -> bool {
        self.map_in_content
    }

    /// Sets the sparse map.
    pub fn set_sparse(&mut self, segments: Vec<Segment>) {
        self.map = Some(segments);
    }

    /// Checks everything. `stored` is the size of the content after the map.
    pub fn finish(self, stored: u64, limits: &Limits) -> Result<Entry, Problem> {
        let path = EntryPath::parse(&self.name, "the name", limits)?;
        let kind = match self.flag {
            TypeFlag::Regular | TypeFlag::GnuSparse => {
                if names_directory(&self.name, &path, stored)? {
                    EntryKind::Directory
                } else {
                    let size = self.real_size.unwrap_or(stored);
                    let sparse = self
                        .map
                        .map(|segments| SparseMap::new(segments, size, stored))
                        .transpose()?;
                    if sparse.is_none() && size != stored {
                        return Err(Problem::Sparse("a real size without a map"));
                    }
                    EntryKind::File { size, sparse }
                }
            }
            TypeFlag::Directory | TypeFlag::GnuDumpDir => EntryKind::Directory,
            TypeFlag::Symlink => {
                check_target(&self.link, limits)?;
                EntryKind::Symlink { target: self.link }
            }
            TypeFlag::HardLink => {
                check_target(&self.link, limits)?;
                let target = EntryPath::parse(&self.link, "the hard link's target", limits)?;
                if target.is_root() {
                    return Err(Problem::LinkToDirectory(self.link));
                }
                EntryKind::HardLink { target }
            }
            TypeFlag::CharDevice | TypeFlag::BlockDevice => {
                let (major, minor) = device(self.device.0, self.device.1)?;
                EntryKind::Device {
                    block: self.flag == TypeFlag::BlockDevice,
                    major,
                    minor,
                }
            }
            TypeFlag::Fifo => EntryKind::Fifo,
            // The archive reader handles these types.
            TypeFlag::PaxLocal
            | TypeFlag::PaxGlobal
            | TypeFlag::GnuLongName
            | TypeFlag::GnuLongLink
            | TypeFlag::GnuVolume => return Err(Problem::Dangling),
        };
        if path.is_root() && kind != EntryKind::Directory {
            return Err(Problem::RootNotDirectory);
        }
        Ok(Entry {
            path,
            kind,
            metadata: self.metadata,
            stored,
        })
    }
}

fn check_target(target: &[u8], limits: &Limits) -> Result<(), Problem> {
    if target.is_empty() {
        return Err(Problem::EmptyTarget);
    }
    if target.contains(&0) {
        return Err(Problem::Nul {
            field: "the link's target",
        });
    }
    check_length(target, limits)
}
