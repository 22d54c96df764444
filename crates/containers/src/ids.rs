//! Ids of users and groups in a container, and what they are on the host.

/// The mapping between the ids of a container with a user namespace and those of the host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids {
    /// The host id of the container's root, and the number of mapped ids; `None` without a user namespace.
    pub range: Option<(u32, u32)>,
}

impl Ids {
    /// The container's id for a host id.
    pub fn inside(self, id: u32) -> u32 {
        match self.range {
            Some((first, size)) if id >= first && id - first < size => id - first,
            _ => id,
        }
    }

    /// The host id for a container's id.
    pub fn outside(self, id: u32) -> u32 {
        match self.range {
            Some((first, size)) if id < size => first + id,
            _ => id,
        }
    }
}

/// The direction in which ids are mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mapping {
    /// From host ids to container ids.
    Inside(Ids),
    /// From container ids to host ids.
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
