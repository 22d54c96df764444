//! The user that a command runs as: `process.user` of a spec.

use oci_spec::runtime::User;
use rustix::process::Gid;

use crate::Error;
use crate::namespaces::idmap::NO_ID;

/// The ids and umask of the command.
pub(super) struct CommandUser {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<Gid>,
    pub umask: u32,
}

impl CommandUser {
    /// Refuses the id that the kernel reads as "leave unchanged", credentials(7): the command would keep box's own ids.
    pub fn plan(user: &User) -> Result<Self, Error> {
        let groups = user.additional_gids().as_deref().unwrap_or(&[]);
        let one = [("uid", user.uid()), ("gid", user.gid())];
        let more = groups.iter().map(|&group| ("additionalGids", group));
        if let Some((field, _)) = one.into_iter().chain(more).find(|(_, id)| *id == NO_ID) {
            return Err(Error::spec(
                format!("process.user.{field}"),
                format!("{NO_ID} is not a valid id, expected 0 to {}", NO_ID - 1),
            ));
        }
        Ok(Self {
            uid: user.uid(),
            gid: user.gid(),
            groups: groups.iter().copied().map(Gid::from_raw).collect(),
            umask: user.umask().unwrap_or(0o022),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_refused_wherever_it_stands() {
        for field in ["uid", "gid", "additionalGids"] {
            let mut user = User::default();
            match field {
                "uid" => user.set_uid(NO_ID),
                "gid" => user.set_gid(NO_ID),
                _ => user.set_additional_gids(Some(vec![5, NO_ID])),
            };
            let refused = CommandUser::plan(&user)
                .err()
                .map(|error| error.to_string());
            let expected = format!(
                "process.user.{field}: 4294967295 is not a valid id, expected 0 to 4294967294"
            );
            assert_eq!(refused, Some(expected));
        }
        let mut user = User::default();
        user.set_uid(NO_ID - 1).set_gid(NO_ID - 1);
        assert!(CommandUser::plan(&user).is_ok_and(|user| user.uid == NO_ID - 1));
    }
}
