//! How many connections there are at a time: as a whole, and of one client. Nobody waits for a slot. Whoever finds none is told
//! so and let go, so that others are still accepted, and a client that takes too many takes them from itself alone.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use metrics::Counter;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    activity::Activity,
    linger::Lingering,
    listener::Entrance,
    metrics::METRICS,
    refusal::{Code, Refusal},
};

/// The slots of a proxy.
#[derive(Debug)]
pub(crate) struct Slots {
    whole: Arc<Semaphore>,
    most: u32,
    most_per_address: usize,
    /// How many each client has that has any.
    taken: Mutex<HashMap<IpAddr, usize>>,
    /// How many of those who found none may be told so at a time.
    farewells: Arc<Semaphore>,
    complaints: Hush,
}

impl Slots {
    /// So many as a whole, and so many of them for one client.
    pub(crate) fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Arc::new(Self {
            whole: Arc::new(Semaphore::new(most as usize)),
            most,
            most_per_address,
            taken: Mutex::default(),
            farewells: Arc::new(Semaphore::new(FAREWELLS)),
            complaints: Hush::default(),
        })
    }

    /// A slot for a client at this address.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn take(self: &Arc<Self>, client: IpAddr) -> Result<Slot, Full> {
        let whole = Arc::clone(&self.whole).try_acquire_owned().map_err(|_| Full::Whole)?;
        let client = one_client(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(client).or_default();
        if *own >= self.most_per_address {
            return Err(Full::Address);
        }
        *own += 1;
        METRICS.connections.increment(1);
        Ok(Slot { activity: Activity::default(), client, slots: Arc::clone(self), _whole: whole })
    }

    /// Tells a client that there is no slot for it, as far as that costs next to nothing: where it waits for TLS, or too many
    /// are being told at once, its connection is closed without a word.
    pub(crate) fn turn_away(&self, full: Full, stream: TcpStream, entrance: Entrance) {
        full.counter().increment(1);
        if self.complaints.may_speak() {
            tracing::warn!(
                because = full.reason(),
                "too many connections at a time: some are refused; this is said once a minute"
            );
        }
        let is_plain = matches!(entrance, Entrance::Proxy | Entrance::TransparentHttp);
        if let (true, Ok(farewell)) = (is_plain, Arc::clone(&self.farewells).try_acquire_owned()) {
            tokio::spawn(say(full, stream, farewell));
        }
    }

    /// Waits until every slot that was taken is given back.
    pub(crate) async fn all_given_back(&self) {
        // Nothing closes it.
        let _ = self.whole.acquire_many(self.most).await;
    }
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken.
    Whole,
    /// This client has as many as one may have.
    Address,
}

impl Full {
    fn reason(self) -> &'static str {
        match self {
            Self::Whole => "all",
            Self::Address => "address",
        }
    }

    fn counter(self) -> &'static Counter {
        match self {
            Self::Whole => &METRICS.refused_for_all,
            Self::Address => &METRICS.refused_for_address,
        }
    }

    fn refusal(self) -> Refusal {
        Refusal::new(
            Code::TooManyConnections,
            match self {
                Self::Whole => "this mirror has as many connections as it may have",
                Self::Address => "this mirror has as many connections from your address as it may have",
            },
        )
    }
}

/// One connection's own: given back when nothing of it is left.
#[derive(Debug)]
pub(crate) struct Slot {
    /// What happens on the connection.
    pub(crate) activity: Activity,
    client: IpAddr,
    slots: Arc<Slots>,
    _whole: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        METRICS.connections.decrement(1);
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

/// Something that is said once a minute, however often there is reason to.
#[derive(Debug, Default)]
pub(crate) struct Hush(Mutex<Option<Instant>>);

impl Hush {
    /// Whether it is time to say it.
    pub(crate) fn may_speak(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.is_none_or(|last| last.elapsed() >= SAY_EVERY);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }
}

/// What counts as one client: an address, and with IPv6 all of its /64, which is what one machine gets (RFC 6177).
fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

async fn say(full: Full, stream: TcpStream, _farewell: OwnedSemaphorePermit) {
    let mut stream = Lingering::new(stream);
    // A new connection has room for this. Clients that go away are everyday life.
    if stream.write_all(&full.refusal().into_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// How many are told at a time, each for no longer than a connection lingers.
const FAREWELLS: usize = 64;
const SAY_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_client_takes_from_itself_and_all_from_the_whole() {
        let slots = Slots::new(3, 2);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let mut held = vec![slots.take(one).unwrap(), slots.take(one).unwrap()];
        assert_eq!(slots.take(one).unwrap_err(), Full::Address);
        assert_eq!(slots.take(address("::ffff:192.0.2.1")).unwrap_err(), Full::Address, "the same, written otherwise");
        held.push(slots.take(other).unwrap());
        assert_eq!(slots.take(other).unwrap_err(), Full::Whole);
        held.clear();
        assert!(slots.taken.lock().unwrap().is_empty(), "who has none is forgotten");
        assert_eq!(slots.whole.available_permits(), 3);
        slots.take(one).unwrap();
    }

    #[test]
    fn a_network_of_one_machine_is_one_client() {
        let slots = Slots::new(9, 1);
        let _held = slots.take(address("2001:db8::1")).unwrap();
        assert_eq!(slots.take(address("2001:db8::ffff:2")).unwrap_err(), Full::Address);
        slots.take(address("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn it_is_said_once() {
        let hush = Hush::default();
        assert_eq!([hush.may_speak(), hush.may_speak()], [true, false]);
    }
}
