//! The errors of the HTTP library, in words.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use box_cache::Reason;

use crate::attempt::Cause;
use crate::printable::Printable;

/// Why a request got no answer.
pub(super) fn of_request(
    error: &reqwest::Error,
    connect_timeout: Duration,
    stall_timeout: Duration,
) -> Cause {
    if let Some(tls) = find::<rustls::Error>(error) {
        return Cause::Tls(Printable::new(&tls.to_string()).to_string());
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Cause::ConnectTimeout(connect_timeout),
        (true, false) => Cause::Connect(unconnected(deepest(error))),
        (false, true) if is_kernel_timeout(error) => Cause::Unaccepted(stall_timeout),
        (false, true) => Cause::Stalled(stall_timeout),
        (false, false) => Cause::Broken(deepest(error)),
    }
}

/// Why no connection was made. The resolver describes its query in the terms of its source code, and the URL is beside this text.
fn unconnected(why: String) -> String {
    match why.starts_with("no records found for") {
        true => "the name server knows no such host".to_owned(),
        false => why,
    }
}

/// Whether the kernel gave up a connection because the other side accepted nothing for too long.
fn is_kernel_timeout(error: &reqwest::Error) -> bool {
    find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
}

/// Why the body of an answer broke off.
pub(super) fn of_body(error: &io::Error, stall_timeout: Duration) -> Cause {
    let inner = error
        .get_ref()
        .and_then(|e| (e as &(dyn std::error::Error + 'static)).downcast_ref::<reqwest::Error>());
    match inner {
        Some(e) if e.is_timeout() => Cause::Stalled(stall_timeout),
        Some(e) => Cause::Broken(deepest(e)),
        None => Cause::Broken(Reason(error).to_string()),
    }
}

/// The innermost reason: the outer ones only name the layers of the library.
pub(super) fn deepest(error: &reqwest::Error) -> String {
    let mut reason: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = inner(reason) {
        reason = inner;
    }
    let text = match reason.downcast_ref::<io::Error>() {
        Some(io) => Reason(io).to_string(),
        None => reason.to_string(),
    };
    Printable::new(&text).to_string()
}

fn find<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(reason) = next {
        if let Some(found) = reason.downcast_ref::<E>() {
            return Some(found);
        }
        next = inner(reason);
    }
    None
}

/// The error inside another; an `io::Error` hides its own behind `get_ref`.
fn inner<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e (dyn std::error::Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
