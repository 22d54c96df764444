//! HTTP requests, retries, and the resumable download of one verified blob.
//!
//! This crate knows what a URL, a proxy and a partial file are. It does not know what is downloaded: which blobs make an
//! image, and where they are published, is the caller's business.
//!
//! - [`Client`] sends one request, follows redirections and describes every failure in words.
//! - [`Fetcher`] adds retries: it tries one [`Location`] after the other, each as often as that makes sense.
//! - [`Download`] brings one blob into a [`box_cache::Partial`], continues what an earlier process left, and compares
//!   size and digests. A [`Tap`] receives a copy of the bytes while they arrive.
//!
//! Two kinds of failure are kept apart. An [`Error`] is ours (a full disk, an unusable certificate file) and ends the
//! work. A [`Cause`] is how one try ended, and another try or another location may do better; verbs that can fail either
//! way return `Result<Result<T, Cause>>`, or `Result<Result<T, Attempts>>` where several tries were made.

mod attempt;
mod body;
mod client;
mod download;
mod error;
mod fetcher;
mod location;
mod printable;
mod retry;

pub use attempt::{Attempt, Attempts, Cause, Refusal};
pub use body::{Body, Validators};
pub use box_cache::is_full;
pub use client::{
    CaCerts, Client, ClientOptions, Content, Identity, Netrc, Proxies, Request, Response, Resume,
};
pub use download::{Blob, Download, Downloaded, Tap};
pub use error::{Error, Result, with_causes};
pub use fetcher::{FailedTry, Fetcher, Open};
pub use location::Location;
pub use printable::Printable;
pub use reqwest::header::{self, HeaderMap};
pub use reqwest::{Method, StatusCode, Url};
pub use retry::{Backoff, Retry};

/// An error of any type, such as a [`Tap`] may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
