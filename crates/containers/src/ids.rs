//! Ids of users and groups in a container, and what they are on the host.

/// How the owners of files on disk are written: a container with a user namespace has its own numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids {
    /// The host's id of the container's root, and how many ids follow it.
    pub range: Option<(u32, u32)>,
}

impl Ids {
    /// The container's number of a host's id.
    pub fn inside(self, id: u32) -> u32 {
        match self.range {
            Some((first, size)) if id >= first && id - first < size => id - first,
            _ => id,
        }
    }

    /// The host's id of a container's number.
    pub fn outside(self, id: u32) -> u32 {
        match self.range {
            Some((first, size)) if id < size => first + id,
            _ => id,
        }
    }
}

/// Which way ids are mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mapping {
    /// From the host's to the container's.
    Inside(Ids),
    /// From the container's to the host's.
    Outside(Ids),
}

impl Mapping {
    pub(crate) fn id(self, id: u32) -> u32 {
        match self {
            Mapping::Inside(ids) => ids.inside(id),
            Mapping::Outside(ids) => ids.outside(id),
        }
    }
}
