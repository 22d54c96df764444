//! A registry in the test process, with scripted faults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::{Image, Store};
use crate::server::{Certificate, Request, Response, Server};

/// A registry that behaves well, except for the answers of a script.
pub struct Scripted {
    server: Server,
    store: Arc<Store>,
}

impl Scripted {
    /// `script` gets each request and the number of earlier requests with the same method and path (without the query).
    /// What it does not answer is answered from the store. Over plain HTTP, as `127.0.0.1:PORT`.
    pub fn new(
        script: impl Fn(&Request, usize) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let store = Arc::new(Store::default());
        let handler = handler(Arc::clone(&store), script);
        Self {
            server: Server::new(handler),
            store,
        }
    }

    /// The same on another address.
    pub fn on(
        address: SocketAddr,
        script: impl Fn(&Request, usize) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let store = Arc::new(Store::default());
        let handler = handler(Arc::clone(&store), script);
        Self {
            server: Server::on(address, handler),
            store,
        }
    }

    /// The same over TLS, as `localhost:PORT`.
    pub fn secure(
        certificate: &Certificate,
        script: impl Fn(&Request, usize) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let store = Arc::new(Store::default());
        let handler = handler(Arc::clone(&store), script);
        Self {
            server: Server::secure(certificate, handler),
            store,
        }
    }

    /// Over a store that the script can ask, too, so that it can change a good answer.
    pub fn over(
        store: Arc<Store>,
        script: impl Fn(&Store, &Request, usize) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let own = Arc::clone(&store);
        let handler = handler(Arc::clone(&store), move |request, nth| {
            script(&own, request, nth)
        });
        Self {
            server: Server::new(handler),
            store,
        }
    }

    /// With an image in it.
    pub fn with(self, repository: &str, tag: &str, image: &Image) -> Self {
        self.store.put(repository, tag, image);
        self
    }

    /// What it holds.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The host and port as they stand in references.
    pub fn host(&self) -> String {
        let address = self.server.address();
        match self.server.url().starts_with("https:") {
            true => format!("localhost:{}", address.port()),
            false => address.to_string(),
        }
    }

    /// `HOST:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// All requests so far with this method, for paths that contain `part`.
    pub fn asked(&self, method: &str, part: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.method == method && request.path.contains(part));
        requests
    }
}

fn handler(
    store: Arc<Store>,
    script: impl Fn(&Request, usize) -> Option<Response> + Send + Sync + 'static,
) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
    let seen = Mutex::new(BTreeMap::<String, usize>::new());
    move |request| {
        let before = {
            let key = format!("{} {}", request.method, request.route());
            let mut seen = seen.lock().expect("no handler panicked");
            let count = seen.entry(key).or_default();
            *count += 1;
            *count - 1
        };
        script(request, before).unwrap_or_else(|| store.answer(request))
    }
}
