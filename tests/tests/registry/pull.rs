//! `box pull` and `box run` of images of registries.
