//! A network between processes of one machine: a TCP proxy per listener, whose links can be slow,
//! dirty, cut, or open in one direction only.
//!
//! A link knows which process opened each of its connections, so that a fault can be between two
//! of them and leave the others alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::watch::owner_of_port;

/// Bytes that pass at once.
const CHUNK_BYTES: usize = 16 << 10;
/// How soon a changed fault takes hold of an idle connection.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a link does to what passes. `toward` is to the listener behind it, `back` from it.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Only connections of this process.
    pub only_from: Option<u32>,
    pub delay: Duration,
    /// Bytes per second.
    pub rate: Option<u64>,
    /// Nothing passes; neither end is told.
    pub cut_toward: bool,
    pub cut_back: bool,
    /// A bit is flipped once in so many bytes, on average.
    pub flip_toward_every: Option<u64>,
    pub flip_back_every: Option<u64>,
    /// A connection is reset after so many bytes, on average.
    pub reset_every: Option<u64>,
    /// A connection is ended in good order, in the middle of a chunk.
    pub truncate_every: Option<u64>,
}

impl Faults {
    /// Nothing passes, either way.
    pub fn cut() -> Self {
        Self {
            cut_toward: true,
            cut_back: true,
            ..Self::default()
        }
    }
}

/// What really happened on a link.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes that passed.
    pub toward: AtomicU64,
    pub back: AtomicU64,
    /// Bits that were flipped and sent on.
    pub flips: AtomicU64,
    pub resets: AtomicU64,
    pub truncations: AtomicU64,
    /// Connections and directions that had something to say while they were cut.
    pub withheld: AtomicU64,
    pub delayed: AtomicU64,
}

impl Counts {
    pub fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Runs all links.
#[derive(Debug)]
pub struct Network {
    runtime: Runtime,
    /// Processes that may open connections.
    processes: Arc<Mutex<Vec<u32>>>,
}

/// A proxy in front of a listener.
#[derive(Debug)]
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    /// 0 while nobody listens: connections wait.
    target: AtomicU16,
    faults: Mutex<Faults>,
    dice: Mutex<Dice>,
    counts: Counts,
    processes: Arc<Mutex<Vec<u32>>>,
}

impl Network {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            runtime: Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("network")
                .enable_all()
                .build()?,
            processes: Arc::default(),
        })
    }

    /// Names the processes that open connections from now on.
    pub fn know(&self, processes: Vec<u32>) {
        *lock(&self.processes) = processes;
    }

    /// A link to nowhere yet.
    pub fn link(&self, seed: u64) -> io::Result<Link> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(0),
            faults: Mutex::default(),
            dice: Mutex::new(Dice::new(seed)),
            counts: Counts::default(),
            processes: Arc::clone(&self.processes),
        });
        let stop = CancellationToken::new();
        let (accepting, stopped) = (Arc::clone(&shared), stop.clone());
        self.runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else {
                return;
            };
            stopped
                .run_until_cancelled(accept(listener, accepting))
                .await;
        });
        Ok(Link { port, shared, stop })
    }
}

impl Link {
    /// Where others connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the listener is now.
    pub fn lead_to(&self, port: u16) {
        self.shared.target.store(port, Ordering::Relaxed);
    }

    pub fn set(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    pub fn heal(&self) {
        self.set(Faults::default());
    }

    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, peer)) = listener.accept().await else {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        };
        tokio::spawn(connection(client, peer, Arc::clone(&shared)));
    }
}

async fn connection(client: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let processes = lock(&shared.processes).clone();
    let opener = tokio::task::spawn_blocking(move || owner_of_port(peer.port(), &processes));
    let opener = opener.await.ok().flatten();
    let target = loop {
        match shared.target.load(Ordering::Relaxed) {
            0 => tokio::time::sleep(LOOK_AGAIN).await,
            target => break target,
        }
    };
    // A listener that is gone is what the client sees as a closed connection.
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let end = CancellationToken::new();
    let pipe = |from, to, toward| Pipe {
        from,
        to,
        toward,
        opener,
        shared: Arc::clone(&shared),
    };
    let toward = pipe(from_client, to_server, true).run(end.clone());
    let back = pipe(from_server, to_client, false).run(end.clone());
    tokio::join!(toward, back);
}

/// One direction of a connection.
struct Pipe {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    toward: bool,
    opener: Option<u32>,
    shared: Arc<Shared>,
}

/// What becomes of a connection after a chunk.
enum After {
    GoOn,
    Reset,
    Truncate,
}

impl Pipe {
    async fn run(mut self, end: CancellationToken) {
        end.clone().run_until_cancelled_owned(self.pass(&end)).await;
        if end.is_cancelled() {
            // Both ends get a reset rather than an end in good order.
            let _ = self.from.as_ref().set_zero_linger();
        }
    }

    async fn pass(&mut self, end: &CancellationToken) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut told = false;
        loop {
            let faults = self.faults();
            if self.is_cut(&faults) {
                // There is something to read: a fault that is felt.
                let waits = tokio::time::timeout(LOOK_AGAIN, self.from.readable()).await;
                if waits.is_ok() {
                    if !told {
                        self.count(|counts| &counts.withheld, 1);
                        told = true;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                continue;
            }
            told = false;
            let read = tokio::time::timeout(LOOK_AGAIN, self.from.read(&mut chunk)).await;
            let length = match read {
                Err(_) => continue,
                Ok(Ok(0)) => {
                    let _ = self.to.shutdown().await;
                    return;
                }
                Ok(Ok(length)) => length,
                Ok(Err(_)) => {
                    end.cancel();
                    return;
                }
            };
            self.hold_up(&faults, length).await;
            while self.is_cut(&self.faults()) {
                if !told {
                    self.count(|counts| &counts.withheld, 1);
                    told = true;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            match self.damage(&faults, &mut chunk[..length]) {
                After::GoOn => {}
                After::Reset => {
                    self.count(|counts| &counts.resets, 1);
                    end.cancel();
                    return;
                }
                After::Truncate => {
                    self.count(|counts| &counts.truncations, 1);
                    let _ = self.to.write_all(&chunk[..length / 2]).await;
                    let _ = self.to.shutdown().await;
                    return;
                }
            }
            if self.to.write_all(&chunk[..length]).await.is_err() {
                end.cancel();
                return;
            }
            self.count(
                if self.toward {
                    |counts| &counts.toward
                } else {
                    |counts| &counts.back
                },
                length as u64,
            );
        }
    }

    fn count(&self, counter: for<'a> fn(&'a Counts) -> &'a AtomicU64, times: u64) {
        counter(&self.shared.counts).fetch_add(times, Ordering::Relaxed);
    }

    /// Those of its link that concern it.
    fn faults(&self) -> Faults {
        let faults = lock(&self.shared.faults).clone();
        match faults.only_from {
            Some(process) if self.opener != Some(process) => Faults::default(),
            Some(_) | None => faults,
        }
    }

    fn is_cut(&self, faults: &Faults) -> bool {
        if self.toward {
            faults.cut_toward
        } else {
            faults.cut_back
        }
    }

    async fn hold_up(&self, faults: &Faults, length: usize) {
        let mut pause = faults.delay;
        if let Some(rate) = faults.rate {
            pause += Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
        }
        if !pause.is_zero() {
            self.count(|counts| &counts.delayed, 1);
            tokio::time::sleep(pause).await;
        }
    }

    fn damage(&self, faults: &Faults, chunk: &mut [u8]) -> After {
        let mut dice = lock(&self.shared.dice);
        let length = chunk.len() as u64;
        let mut happens = |every: Option<u64>| {
            every.is_some_and(|every| dice.below(every.max(1)) < length.min(every))
        };
        if happens(faults.reset_every) {
            return After::Reset;
        }
        if happens(faults.truncate_every) {
            return After::Truncate;
        }
        let flips = if self.toward {
            faults.flip_toward_every
        } else {
            faults.flip_back_every
        };
        if happens(flips) {
            let at = dice.index(chunk.len());
            chunk[at] ^= 1 << dice.below(8);
            self.shared.counts.flips.fetch_add(1, Ordering::Relaxed);
        }
        After::GoOn
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// A listener that sends everything back, and a link to it.
    fn echo(network: &Network) -> io::Result<Link> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let Ok(mut writer) = stream.try_clone() else {
                        return;
                    };
                    let mut reader = stream;
                    drop(io::copy(&mut reader, &mut writer));
                });
            }
        });
        let link = network.link(7)?;
        link.lead_to(port);
        Ok(link)
    }

    fn there_and_back(link: &Link, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port()))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(bytes)?;
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back)?;
        Ok(back)
    }

    #[test]
    fn each_fault_fires_and_is_counted() -> io::Result<()> {
        let network = Network::new()?;
        let this = std::process::id();
        network.know(vec![1, this]);
        let link = echo(&network)?;
        let bytes = vec![b'x'; 100_000];
        assert_eq!(there_and_back(&link, &bytes)?, bytes);
        // Bytes are counted when they have gone on, and we may have them a moment before.
        let start = std::time::Instant::now();
        while Counts::read(&link.counts().back) < 100_000 && start.elapsed().as_secs() < 60 {
            std::thread::yield_now();
        }
        assert_eq!(Counts::read(&link.counts().back), 100_000);

        link.set(Faults {
            flip_back_every: Some(1_000),
            ..Faults::default()
        });
        let back = there_and_back(&link, &bytes)?;
        let flipped = back.iter().zip(&bytes).filter(|(a, b)| a != b).count() as u64;
        assert!(flipped > 0);
        assert_eq!(flipped, Counts::read(&link.counts().flips));

        link.set(Faults {
            cut_back: true,
            ..Faults::default()
        });
        assert!(there_and_back(&link, &bytes).is_err());
        assert!(Counts::read(&link.counts().withheld) > 0);

        for faults in [
            Faults {
                reset_every: Some(1),
                ..Faults::default()
            },
            Faults {
                truncate_every: Some(1),
                ..Faults::default()
            },
        ] {
            link.set(faults);
            assert!(there_and_back(&link, &bytes).is_err());
        }
        assert!(Counts::read(&link.counts().resets) > 0);
        assert!(Counts::read(&link.counts().truncations) > 0);

        link.set(Faults {
            only_from: Some(1),
            ..Faults::cut()
        });
        assert_eq!(
            there_and_back(&link, &bytes)?,
            bytes,
            "we are not process 1"
        );
        link.set(Faults {
            only_from: Some(this),
            ..Faults::cut()
        });
        assert!(there_and_back(&link, &bytes).is_err());
        Ok(())
    }
}
