//! An HTTPS server that speaks HTTP/2 (RFC 9113) and nothing else, in a thread of the test process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Certificate;

/// A file server that offers only `h2` by ALPN (RFC 7301): the handshake fails for clients without `h2`.
pub struct Http2Server {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Http2Server {
    /// Serves the files below `root` as `localhost`.
    pub fn files(certificate: &Certificate, root: impl Into<PathBuf>) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .expect("a loopback port to listen on");
        let address = listener.local_addr().expect("the address of the listener");
        listener
            .set_nonblocking(true)
            .expect("a socket that does not block");
        let paths = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let files = Files {
            root: root.into(),
            paths: Arc::clone(&paths),
        };
        let acceptor = TlsAcceptor::from(certificate.http2());
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build()
                    .expect("a runtime");
                runtime.block_on(accept(listener, acceptor, files, &stop));
            }
        });
        Self {
            address,
            paths,
            stop,
            thread: Some(thread),
        }
    }

    /// `https://localhost:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The paths requested so far, in order.
    pub fn paths(&self) -> Vec<String> {
        self.paths.lock().expect("no handler panicked").clone()
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The flag is looked at after each connection: make one.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            // A panic in there has already failed the test that caused it.
            drop(thread.join());
        }
    }
}

#[derive(Clone)]
struct Files {
    root: PathBuf,
    paths: Arc<Mutex<Vec<String>>>,
}

async fn accept(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    files: Files,
    stop: &AtomicBool,
) {
    let listener = TcpListener::from_std(listener).expect("the runtime takes the socket");
    while let Ok((stream, _)) = listener.accept().await {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let (acceptor, files) = (acceptor.clone(), files.clone());
        // Errors on the way are ignored: the client notices the missing bytes.
        drop(tokio::spawn(async move {
            files.serve(acceptor, stream).await.unwrap_or_default();
        }));
    }
}

impl Files {
    async fn serve(&self, acceptor: TlsAcceptor, stream: tokio::net::TcpStream) -> io::Result<()> {
        let tls = acceptor.accept(stream).await?;
        let mut connection = h2::server::handshake(tls).await.map_err(io::Error::other)?;
        while let Some(request) = connection.accept().await {
            let (request, mut respond) = request.map_err(io::Error::other)?;
            let path = request.uri().path().to_owned();
            let file = std::fs::read(self.root.join(path.trim_start_matches('/')));
            self.paths.lock().expect("no handler panicked").push(path);
            let (status, body) = match file {
                Ok(bytes) => (200, bytes),
                Err(_) => (404, Vec::new()),
            };
            let response = http::Response::builder()
                .status(status)
                .header("content-length", body.len())
                .body(())
                .map_err(io::Error::other)?;
            let mut stream = respond
                .send_response(response, false)
                .map_err(io::Error::other)?;
            // Kept until the client's window has room for it.
            stream
                .send_data(body.into(), true)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }
}
