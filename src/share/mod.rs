//! Shares: whatever clients use together has a share for each of them.
//!
//! A resource that is bounded only in all can be taken whole by one client. Here each bound knows who
//! holds what. Shares are work-conserving: a client that is alone takes whatever nobody else wants, and
//! a newcomer gets its share when it comes.

pub(crate) mod byte_cache;
pub(crate) mod eviction;
mod rates;
pub(crate) mod single_flight;
mod slots;
pub mod turns;
mod waiters;

use std::net::{IpAddr, Ipv6Addr};

pub use rates::{Allowance, Exhausted, Rates};
pub use slots::{Arrival, SlotHolder, SlotId, Slots};
pub use turns::{Shed, Turns};
pub use waiters::{NoPlace, Waiter, Waiters};

/// The network that one client has to itself: its IPv4 address, or the /64 of its IPv6 address, since
/// one customer usually holds all of a /64. An IPv4 address mapped into IPv6 counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// Returns the network of a client's address.
    pub const fn of(address: IpAddr) -> ClientNetwork {
        ClientNetwork(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !(u64::MAX as u128))),
        })
    }
}

/// Who a share belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claimant {
    /// A client known by its address.
    Network(ClientNetwork),
    /// A command of the operator, or this server itself.
    Operator,
}

impl Claimant {
    /// Returns whose share a client at this address takes.
    pub const fn at(address: IpAddr) -> Claimant {
        Claimant::Network(ClientNetwork::of(address))
    }
}
