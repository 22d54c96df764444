//! `box login` and `box logout`, and credentials of other programs.
