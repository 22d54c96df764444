//! A flag as the quick reader of `box run` sees it: its names, and the place of its value.
//!
//! clap has the full definition of every flag. Tables of [`Flag`]s list those that are also read without clap. A test walks clap's
//! definition and compares both readers for every flag, see `command_line/quick/tests/definition.rs`.

use std::path::PathBuf;

/// A flag of the options `A`.
pub struct Flag<A> {
    /// All its names, with their dashes.
    pub names: &'static [&'static str],
    /// The place of its value.
    pub slot: fn(&mut A) -> Slot<'_>,
}

impl<A> Flag<A> {
    /// The flag of this name.
    pub fn named(flags: &'static [Flag<A>], name: &str) -> Option<&'static Flag<A>> {
        flags.iter().find(|flag| flag.names.contains(&name))
    }

    /// The names of all these flags.
    #[cfg(test)]
    pub fn all_names(flags: &'static [Flag<A>]) -> Vec<&'static str> {
        flags.iter().flat_map(|flag| flag.names).copied().collect()
    }
}

/// The place of a flag's value.
pub enum Slot<'a> {
    /// A flag without a value.
    Switch(&'a mut bool),
    /// One value.
    Text(&'a mut Option<String>),
    /// One path.
    Path(&'a mut Option<PathBuf>),
    /// One value each time that the flag is given.
    Texts(&'a mut Vec<String>),
    /// One or more values each time, separated by commas.
    List(&'a mut Vec<String>),
}

impl Slot<'_> {
    /// Takes the value from the words that follow the flag, if it has one.
    pub fn fill<'w>(self, rest: &mut impl Iterator<Item = &'w str>) -> Option<()> {
        match self {
            Slot::Switch(switch) => (!std::mem::replace(switch, true)).then_some(()),
            slot => {
                let value = rest.next()?;
                (!value.starts_with('-')).then(|| slot.take(value))?
            }
        }
    }

    /// Takes a value. An empty one is refused, and a second one where only one is allowed.
    pub fn take(self, value: &str) -> Option<()> {
        if value.is_empty() {
            return None;
        }
        match self {
            Slot::Switch(_) => return None,
            Slot::Text(place) if place.is_none() => *place = Some(value.to_owned()),
            Slot::Path(place) if place.is_none() => *place = Some(value.into()),
            Slot::Text(_) | Slot::Path(_) => return None,
            Slot::Texts(list) => list.push(value.to_owned()),
            Slot::List(list) => list.extend(value.split(',').map(str::to_owned)),
        }
        Some(())
    }
}
