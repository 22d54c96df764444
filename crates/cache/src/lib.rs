//! References, digests and the content-addressed image cache on disk
