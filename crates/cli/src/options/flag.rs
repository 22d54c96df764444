//! A flag that the quick reader knows: where its value goes.

use std::path::PathBuf;

/// Where the value of a flag is kept.
pub enum Slot<'a> {
    /// A flag without a value.
    Switch(&'a mut bool),
    /// One value.
    Text(&'a mut Option<String>),
    /// One path.
    Path(&'a mut Option<PathBuf>),
    /// A value for each time that the flag is given.
    Texts(&'a mut Vec<String>),
    /// The same, several with commas between them.
    List(&'a mut Vec<String>),
}

impl Slot<'_> {
    /// From the words that follow the flag, where it takes one.
    pub fn fill<'w>(self, rest: &mut impl Iterator<Item = &'w str>) -> Option<()> {
        match self {
            Slot::Switch(switch) => (!std::mem::replace(switch, true)).then_some(()),
            slot => {
                let value = rest.next()?;
                (!value.starts_with('-')).then(|| slot.take(value))?
            }
        }
    }

    /// A value. What may be given once and comes again is refused, as is an empty one.
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
