//! Which signatures of images of registries are trusted.
