//! `box push`, `box tag`, `box tags` and the like.
