//! A blocking TCP server of the test: one thread for each connection, all of
//! which end when the server is dropped.

use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::address_of;

/// Tells the threads of a program that it ends.
#[derive(Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    pub fn set(&self) {
        *self.stopped.lock().unwrap() = true;
        self.told.notify_all();
    }

    pub fn is_set(&self) -> bool {
        *self.stopped.lock().unwrap()
    }

    /// Sleeps, but not beyond the end of the program. True if it ends.
    pub fn sleep(&self, duration: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap();
        *self.told.wait_timeout_while(stopped, duration, |stopped| !*stopped).unwrap().0
    }
}

/// A server, with what it does to a connection given as a function. A connection
/// is closed when that function returns.
pub struct Server {
    pub address: SocketAddrV4,
    stop: Arc<Stop>,
    accepting: Option<JoinHandle<()>>,
    connections: Arc<Connections>,
}

type Connections = Mutex<Vec<(Weak<TcpStream>, JoinHandle<()>)>>;

impl Server {
    /// Starts it on a port of the loopback that the system chooses.
    pub fn start(serve: impl Fn(&TcpStream, &Stop) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = address_of(&listener);
        let stop = Arc::new(Stop::default());
        let connections = Arc::new(Connections::default());
        let accepting = thread::spawn({
            let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
            move || accept(&listener, &stop, &connections, &Arc::new(serve))
        });
        Self { address, stop, accepting: Some(accepting), connections }
    }
}

fn accept<F: Fn(&TcpStream, &Stop) + Send + Sync + 'static>(
    listener: &TcpListener,
    stop: &Arc<Stop>,
    connections: &Connections,
    serve: &Arc<F>,
) {
    loop {
        let (stream, _) = listener.accept().unwrap();
        if stop.is_set() {
            return;
        }
        stream.set_nodelay(true).unwrap();
        let stream = Arc::new(stream);
        let weak = Arc::downgrade(&stream);
        let (stop, serve) = (Arc::clone(stop), Arc::clone(serve));
        let thread = thread::spawn(move || serve(&stream, &stop));
        connections.lock().unwrap().push((weak, thread));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.set();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for (stream, thread) in self.connections.lock().unwrap().drain(..) {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            let _ = thread.join();
        }
    }
}
