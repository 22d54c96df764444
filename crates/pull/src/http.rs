//! HTTP and HTTPS requests, with every redirection looked at and every failure put into words.

mod failure;
mod netrc;

use std::cell::OnceCell;
use std::io::Read;
use std::time::{Duration, SystemTime};

use reqwest::blocking::{Client, ClientBuilder, Response};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, NoProxy, Proxy, Url};

use crate::error::{Cause, Error, Result};
use crate::foreign::Foreign;
use crate::mirror::shown;
use crate::retry::retry_after;

pub use netrc::Netrc;

/// How to speak to servers.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Certificates that are trusted beside the system's.
    pub ca_certs: Vec<CaCerts>,
    /// Proxies.
    pub proxies: Proxies,
    /// Names and passwords for hosts.
    pub netrc: Netrc,
    /// Longest time to wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time to wait for the next byte; a transfer may take as long as it likes otherwise.
    pub stall_timeout: Duration,
    /// Longest chain of redirections.
    pub redirects: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            ca_certs: Vec::new(),
            proxies: Proxies::default(),
            netrc: Netrc::default(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            redirects: 10,
        }
    }
}

/// A file of certificates, as read by the caller.
#[derive(Clone, Debug)]
pub struct CaCerts {
    /// Its name, for messages.
    pub name: String,
    /// One or more certificates in PEM.
    pub pem: Vec<u8>,
}

/// Proxies as the usual variables give them (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`); each an
/// `http://`, `https://` or `socks5://` URL.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http://` URLs.
    pub http: Option<String>,
    /// For `https://` URLs.
    pub https: Option<String>,
    /// For whatever has no proxy of its own.
    pub all: Option<String>,
    /// Hosts, domains and networks to be reached directly, separated by commas.
    pub none_for: Option<String>,
}

/// A client. It keeps a thread alive until it is dropped.
pub(crate) struct Http<'a> {
    options: &'a HttpOptions,
    /// Without roots of trust: reading the system's takes longer than fetching a small file from a near mirror.
    plain: OnceCell<Client>,
    secure: OnceCell<Client>,
}

/// Where to continue a file.
#[derive(Clone, Debug)]
pub(crate) struct Continue {
    /// Number of bytes that are there already.
    pub offset: u64,
    /// The validator that must still hold for the rest to fit (RFC 9110, section 13.1.5), where one is known.
    pub validator: Option<String>,
}

/// What tells one version of a file at a URL from the next (RFC 9110, section 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileVersion {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

impl FileVersion {
    fn of(headers: &HeaderMap) -> Self {
        let short = |name| {
            text(headers, name)
                .filter(|v| v.len() <= 200)
                .map(str::to_owned)
        };
        Self {
            etag: short(header::ETAG),
            last_modified: short(header::LAST_MODIFIED),
        }
    }

    /// What `If-Range` can be asked with: a strong entity tag, else the time of the last change.
    pub(crate) fn validator(&self) -> Option<String> {
        let strong = self.etag.as_ref().filter(|tag| tag.starts_with('"'));
        strong.or(self.last_modified.as_ref()).cloned()
    }
}

/// A successful answer.
pub(crate) struct Reply {
    /// Where it came from in the end.
    pub url: String,
    /// Offset of the first byte of the body in the file.
    pub offset: u64,
    /// Size of the whole file, where the server tells it.
    pub size: Option<u64>,
    /// What identifies this version of the file.
    pub version: FileVersion,
    /// Whether the server says that this is a web page.
    pub html: bool,
    body: Response,
    stall_timeout: Duration,
}

impl<'a> Http<'a> {
    pub(crate) fn new(options: &'a HttpOptions) -> Self {
        // What reqwest takes as provider; an error says that there is one already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            options,
            plain: OnceCell::new(),
            secure: OnceCell::new(),
        }
    }

    /// Asks for a file, or for what follows of it.
    pub(crate) fn get(&self, url: &Url, from: Option<&Continue>) -> Result<Result<Reply, Cause>> {
        let mut url = url.clone();
        for _ in 0..=self.options.redirects {
            let client = self.client(&url)?;
            let response = match self.request(client, &url, from).send() {
                Ok(response) => response,
                Err(e) => return Ok(Err(failure::of_request(&e, self.options))),
            };
            match redirection(&url, &response) {
                Ok(None) => return Ok(self.reply(&url, from, response)),
                Ok(Some(next)) => url = next,
                Err(cause) => return Ok(Err(cause)),
            }
        }
        Ok(Err(Cause::Redirects(self.options.redirects)))
    }

    fn client(&self, url: &Url) -> Result<&Client> {
        let cell = match url.scheme() {
            "https" => &self.secure,
            _ => &self.plain,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = self.builder()?;
        builder = match url.scheme() {
            "https" => builder.tls_certs_merge(self.certificates()?),
            _ if self.proxied_securely() => builder.tls_certs_merge(self.certificates()?),
            _ => builder.tls_certs_only([]),
        };
        let client = builder.build().map_err(|e| Error::Tls {
            why: failure::deepest(&e),
        })?;
        Ok(cell.get_or_init(|| client))
    }

    fn builder(&self) -> Result<ClientBuilder> {
        let mut builder = Client::builder()
            .user_agent(concat!("box/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.options.connect_timeout)
            // For each single wait, not for the whole transfer: see reqwest's `blocking`.
            .timeout(self.options.stall_timeout);
        let proxies = &self.options.proxies;
        let none_for = proxies.none_for.as_deref().and_then(NoProxy::from_string);
        type Make = fn(&str) -> reqwest::Result<Proxy>;
        let kinds: [(&Option<String>, Make); 3] = [
            (&proxies.http, |p| Proxy::http(p)),
            (&proxies.https, |p| Proxy::https(p)),
            (&proxies.all, |p| Proxy::all(p)),
        ];
        for (setting, make) in kinds {
            let Some(setting) = setting.as_deref().filter(|s| !s.is_empty()) else {
                continue;
            };
            let proxy = make(setting).map_err(|e| Error::Proxy {
                proxy: Foreign::new(setting.rsplit('@').next().unwrap_or_default()),
                why: failure::deepest(&e),
            })?;
            builder = builder.proxy(proxy.no_proxy(none_for.clone()));
        }
        Ok(builder)
    }

    fn proxied_securely(&self) -> bool {
        let proxies = &self.options.proxies;
        [&proxies.http, &proxies.all]
            .into_iter()
            .flatten()
            .any(|p| p.starts_with("https:"))
    }

    fn certificates(&self) -> Result<Vec<Certificate>> {
        let mut all = Vec::new();
        for file in &self.options.ca_certs {
            let unusable = |why: String| Error::Certificate {
                name: file.name.clone(),
                why,
            };
            let certificates = Certificate::from_pem_bundle(&file.pem)
                .map_err(|e| unusable(failure::deepest(&e)))?;
            if certificates.is_empty() {
                return Err(unusable("there is no PEM certificate in it".to_owned()));
            }
            all.extend(certificates);
        }
        Ok(all)
    }

    fn request(
        &self,
        client: &Client,
        url: &Url,
        from: Option<&Continue>,
    ) -> reqwest::blocking::RequestBuilder {
        let mut request = client
            .get(url.clone())
            // The bytes as they are: their digest is known, that of a compressed transfer is not.
            .header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            );
        if let Some(from) = from.filter(|from| from.offset > 0) {
            request = request.header(header::RANGE, format!("bytes={}-", from.offset));
            if let Some(validator) = &from.validator {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        let told = !url.username().is_empty() || url.password().is_some();
        match url
            .host_str()
            .and_then(|host| self.options.netrc.credentials(host))
        {
            Some((login, password)) if !told => request.basic_auth(login, Some(password)),
            _ => request,
        }
    }

    fn reply(
        &self,
        url: &Url,
        from: Option<&Continue>,
        response: Response,
    ) -> Result<Reply, Cause> {
        let status = response.status();
        let wanted = from.map_or(0, |from| from.offset);
        let headers = response.headers();
        let length = response.content_length();
        let (offset, size) = match status.as_u16() {
            200 => (0, length),
            206 => content_range(headers, wanted)?,
            404 | 410 => return Err(Cause::Absent),
            416 => return Err(Cause::Range(wanted)),
            code => {
                let asked = text(headers, header::RETRY_AFTER);
                return Err(Cause::Status {
                    status: code,
                    reason: status.canonical_reason(),
                    retry_after: asked.and_then(|v| retry_after(v, SystemTime::now())),
                });
            }
        };
        Ok(Reply {
            url: shown(url),
            offset,
            size,
            version: FileVersion::of(headers),
            html: text(headers, header::CONTENT_TYPE).is_some_and(|t| t.starts_with("text/html")),
            body: response,
            stall_timeout: self.options.stall_timeout,
        })
    }
}

impl Reply {
    /// Reads the next bytes of the body; 0 is its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        self.body
            .read(buffer)
            .map_err(|e| failure::of_body(&e, self.stall_timeout))
    }
}

/// Where a response redirects to, checked; `None` where it does not.
fn redirection(url: &Url, response: &Response) -> Result<Option<Url>, Cause> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response
        .headers()
        .get(header::LOCATION)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let invalid = || Cause::Redirect(Foreign::from_bytes(location));
    let location_text = std::str::from_utf8(location).map_err(|_| invalid())?;
    let mut next = url.join(location_text).map_err(|_| invalid())?;
    match (url.scheme(), next.scheme()) {
        ("https", "http") => return Err(Cause::Downgrade(shown(&next))),
        (_, "http" | "https") => {}
        _ => return Err(invalid()),
    }
    // Nobody but the user gives credentials, and they are for the host that they were given for.
    let same_host = url.origin() == next.origin();
    let (user, password) = match same_host {
        true => (url.username(), url.password()),
        false => ("", None),
    };
    next.set_username(user).map_err(|()| invalid())?;
    next.set_password(password).map_err(|()| invalid())?;
    next.set_fragment(None);
    Ok(Some(next))
}

/// Offset and size by a `Content-Range` field (RFC 9110, section 14.4), which must start at `wanted`.
fn content_range(headers: &HeaderMap, wanted: u64) -> Result<(u64, Option<u64>), Cause> {
    let value = text(headers, header::CONTENT_RANGE).unwrap_or_default();
    let parse = || {
        let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
        let start: u64 = range.split_once('-')?.0.parse().ok()?;
        let size = match size {
            "*" => None,
            size => Some(size.parse().ok()?),
        };
        Some((start, size))
    };
    match parse() {
        Some((start, size)) if start == wanted => Ok((start, size)),
        _ => Err(Cause::Protocol(format!(
            "asked for bytes from {wanted} on, the Content-Range is `{}`",
            Foreign::new(value)
        ))),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
