//! Requests that send something.
//!
//! The library's blocking half cannot do this well: it forgets an answer that comes before everything is sent, such as the refusal of
//! a large file, and its only timeout is for sending everything. So these requests go through the other half, on a runtime that lives
//! in here and that each caller drives while it waits.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Body, ClientBuilder, Method, StatusCode, Url};
use tokio::runtime::{Builder, Runtime};

use super::{Content, failure};
use crate::attempt::Cause;
use crate::error::{Error, Result};

/// A link that carries less than this, in bytes per second, is too slow to send anything on.
const SLOWEST: u64 = 8 << 10;

/// The largest answer in bytes: a short text, if anything.
const MAX_ANSWER: usize = 1 << 20;

/// The number of bytes that are read from a file at once.
const READ: usize = 128 << 10;

/// Sends requests that have content.
pub(super) struct Sender {
    runtime: Runtime,
    client: reqwest::Client,
}

/// Method, URL, headers, and a name and a password.
pub(super) type Head<'a> = (
    &'a Method,
    &'a Url,
    &'a HeaderMap,
    Option<(&'a str, &'a str)>,
);

/// An answer, with all of its body.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Sender {
    pub(super) fn new(builder: ClientBuilder) -> Result<Self> {
        let unusable = |why: String| Error::Tls { why };
        // The kernel is asked for news at every turn: see `poll_frame`.
        let runtime = Builder::new_current_thread()
            .event_interval(1)
            .enable_all()
            .build();
        Ok(Self {
            runtime: runtime.map_err(|e| unusable(e.to_string()))?,
            client: builder
                .build()
                .map_err(|e| unusable(failure::deepest(&e)))?,
        })
    }

    /// Sends one request. Its time is limited only where nothing moves, and by the slowest link that makes sense.
    pub(super) fn send(
        &self,
        (method, url, headers, credentials): Head<'_>,
        content: &Content<'_>,
        (connect_timeout, stall_timeout): (Duration, Duration),
    ) -> Result<Answer, Cause> {
        let patience = stall_timeout + Duration::from_secs(content.length() / SLOWEST);
        let mut request = self
            .client
            .request(method.clone(), url.clone())
            .header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )
            .headers(headers.clone())
            .timeout(patience)
            .body(content.body()?);
        if let Some((login, password)) = credentials {
            request = request.basic_auth(login, Some(password));
        }
        self.runtime.block_on(async {
            let failed = |e| failure::of_request(&e, connect_timeout, stall_timeout);
            let mut response = request.send().await.map_err(failed)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = Vec::new();
            while let Some(bytes) = response.chunk().await.map_err(failed)? {
                if body.len() + bytes.len() > MAX_ANSWER {
                    return Err(Cause::TooLong {
                        limit: MAX_ANSWER as u64,
                    });
                }
                body.extend_from_slice(&bytes);
            }
            Ok(Answer {
                status,
                headers,
                body,
            })
        })
    }
}

impl Content<'_> {
    /// The number of bytes to send.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    fn body(&self) -> Result<Body, Cause> {
        Ok(match self {
            Self::Bytes(bytes) => Body::from(bytes.to_vec()),
            Self::File {
                file,
                offset,
                length,
                sent,
            } => Body::wrap(Part {
                file: file.try_clone().map_err(Cause::File)?,
                start: *offset,
                at: *offset,
                left: *length,
                sent: sent.clone(),
                pause: true,
            }),
        })
    }
}

/// A part of a file, read by offset: clones of a file share its position.
struct Part {
    file: File,
    start: u64,
    at: u64,
    left: u64,
    sent: Option<Arc<AtomicU64>>,
    pause: bool,
}

impl Part {
    fn next(&mut self) -> io::Result<Bytes> {
        let most = READ.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut buffer = vec![0; most];
        let read = self.file.read_at(&mut buffer, self.at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(read);
        self.at += read as u64;
        self.left -= read as u64;
        if let Some(sent) = &self.sent {
            sent.store(self.at - self.start, Ordering::Relaxed);
        }
        Ok(buffer.into())
    }
}

impl http_body::Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        // The connection looks for an early answer only when it has to wait: otherwise a refusal may be lost where the server closes
        // the connection soon after it.
        self.pause = !self.pause;
        if self.pause {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match self.left {
            0 => None,
            _ => Some(self.next().map(Frame::data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
