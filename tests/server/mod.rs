//! A server on the loopback, for programs that capture what comes to it.

use std::net::TcpListener;

/// Takes connections on a port of the loopback.
pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// The filter of its segments.
    pub(crate) fn filter(&self) -> String {
        format!("tcp port {}", self.port)
    }
}
