//! An HTTP/1.1 server on the loopback interface, in threads of the test process, using only the standard library.
//!
//! [`Server::mirror`] serves the real Alpine mirror tree as the real mirror does (listings, ranges, `latest-stable`);
//! [`Server::new`] takes any handler, and a [`Response`] can simulate every fault of a network.

mod files;
mod http2;
mod request;
mod response;
mod tls;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub use files::Files;
pub use http2::Http2Server;
pub use request::Request;
pub use response::{Body, Response};
pub use tls::Certificate;

/// Answers one request; called from several threads at the same time.
pub type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// A connection, encrypted or not.
trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// A running server; it ends when dropped.
pub struct Server {
    scheme: &'static str,
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    accept: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the answers of `handler`, on a free port of 127.0.0.1.
    pub fn new(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), handler)
    }

    /// As [`Server::new`], over TLS as `localhost`.
    pub fn secure(
        certificate: &Certificate,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start(address, Some(certificate.acceptor()), handler)
    }

    /// The mirror tree of the tests, except for the answers of `script`, which gets each request and the number of earlier
    /// requests for the same path.
    pub fn scripted(
        script: impl Fn(&Request, usize) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let files = Files::new(crate::Mirror::get().dir());
        let seen = Mutex::new(BTreeMap::<String, usize>::new());
        Self::new(move |request| {
            let before = {
                let mut seen = seen.lock().expect("no handler panicked");
                let count = seen.entry(request.path.clone()).or_default();
                *count += 1;
                *count - 1
            };
            script(request, before).unwrap_or_else(|| files.answer(request))
        })
    }

    /// Serves on the given address; port 0 selects a free one.
    pub fn on(
        address: SocketAddr,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::start(address, None, handler)
    }

    fn start(
        address: SocketAddr,
        tls: Option<tls::Acceptor>,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind(address).expect("a loopback port to listen on");
        let address = listener.local_addr().expect("the address of the listener");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let accept = std::thread::spawn({
            let (requests, stop) = (Arc::clone(&requests), Arc::clone(&stop));
            move || accept_loop(&listener, tls.as_ref(), &handler, &requests, &stop)
        });
        Self {
            scheme,
            address,
            requests,
            stop,
            accept: Some(accept),
        }
    }

    /// Serves the files below `root`, with listings, validators and ranges.
    pub fn files(root: impl Into<PathBuf>) -> Self {
        let files = Files::new(root);
        Self::new(move |request| files.answer(request))
    }

    /// Serves the mirror tree of the tests ([`crate::Mirror`]).
    pub fn mirror() -> Self {
        Self::files(crate::Mirror::get().dir())
    }

    /// `http://127.0.0.1:PORT` or `https://localhost:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}", self.address.port()),
            scheme => format!("{scheme}://{}", self.address),
        }
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no handler panicked").clone()
    }

    /// The paths of all requests so far, in order.
    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|r| r.path).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The accept loop looks at the flag after each connection: make one.
        drop(TcpStream::connect(self.address));
        if let Some(accept) = self.accept.take() {
            // A panic in there has already failed the test that caused it.
            drop(accept.join());
        }
    }
}

/// The mirror tree of the tests.
pub fn mirror_dir() -> PathBuf {
    crate::Mirror::get().dir().to_owned()
}

fn accept_loop(
    listener: &TcpListener,
    tls: Option<&tls::Acceptor>,
    handler: &Arc<Handler>,
    requests: &Arc<Mutex<Vec<Request>>>,
    stop: &Arc<AtomicBool>,
) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (handler, requests, stop) =
            (Arc::clone(handler), Arc::clone(requests), Arc::clone(stop));
        drop(stream.set_nodelay(true));
        drop(stream.set_read_timeout(Some(Duration::from_secs(60))));
        let wire: Box<dyn Wire> = match tls {
            Some(acceptor) => acceptor.accept(stream),
            None => Box::new(stream),
        };
        std::thread::spawn(move || serve_connection(wire, &*handler, &requests, &stop));
    }
}

/// Answers requests until the client, the response or the end of the server closes the connection. Errors on the way are
/// ignored: the client notices the missing bytes.
fn serve_connection(
    wire: Box<dyn Wire>,
    handler: &Handler,
    requests: &Mutex<Vec<Request>>,
    stop: &AtomicBool,
) {
    let mut reader = BufReader::new(wire);
    while let Some(request) = request::read(&mut reader) {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        requests
            .lock()
            .expect("no handler panicked")
            .push(request.clone());
        let response = handler(&request);
        let keep = request.header("connection") != Some("close");
        if !response.send(reader.get_mut(), request.method == "HEAD", stop) || !keep {
            return;
        }
    }
}
