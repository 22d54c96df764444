//! Finding, fetching and verifying images
