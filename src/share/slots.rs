//! Slots: a bounded number of them, and who makes room when they are all taken.
//!
//! A client takes whatever nobody else wants, up to all slots. When every slot is taken and somebody arrives,
//! [`Slots::arrive`] decides:
//!
//! | the newcomer | what happens |
//! |---|---|
//! | holds at least two slots fewer than the client that holds most | that client loses one, and the newcomer gets it |
//! | has its share, and one of its slots rests | the newcomer takes that slot |
//! | has its share, and a slot of an exempt holder rests | the newcomer takes that slot |
//! | has its share | it gets no slot now |
//!
//! Two clients that hold equally many, or whose counts differ by one, never take slots from each other:
//! after the exchange the newcomer would hold as much as the loser, and the next exchange would undo it.
//!
//! A client loses the slot that has rested longest, else the one that has worked longest. Exempt holders
//! (trusted proxies, behind which there are many clients) have no share: they lose only slots that rest, and
//! count as holding nothing when they arrive.
//!
//! This is bookkeeping only. Whoever keeps the slots ends what was evicted, and calls [`Slots::leave`] for
//! every slot whose work has ended, evicted or not.

use std::collections::{BTreeSet, HashMap};

use super::Claimant;

/// Names one slot for as long as it is taken. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u64);

/// Who holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotHolder {
    /// A client, which has a share.
    Client(Claimant),
    /// Somebody who speaks for many clients and therefore has no share.
    Exempt,
}

/// A slot that was given, and what had to make room for it.
#[derive(Debug)]
pub struct Arrival<T> {
    /// The new slot.
    pub slot: SlotId,
    /// What stood in the slot before. It is out of the books already.
    pub evicted: Option<T>,
}

/// What a slot is used for. The order is that of eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Resting,
    Working,
}

/// The order in which a holder loses its slots: first by use, then by how long it lasts.
type Rank = (Use, u64, SlotId);

struct Taken<T> {
    holder: SlotHolder,
    rank: Rank,
    value: T,
}

/// Slots, each with a value of who uses it.
pub struct Slots<T> {
    capacity: usize,
    taken: HashMap<SlotId, Taken<T>>,
    by_holder: HashMap<SlotHolder, BTreeSet<Rank>>,
    /// The clients by how many slots they hold. Exempt holders are not among them.
    by_count: BTreeSet<(usize, Claimant)>,
    /// Grows with every event, and so orders them.
    sequence: u64,
}

impl<T> Slots<T> {
    /// As many slots, at least one, all of them free.
    pub fn new(capacity: usize) -> Slots<T> {
        Slots {
            capacity: capacity.max(1),
            taken: HashMap::new(),
            by_holder: HashMap::new(),
            by_count: BTreeSet::new(),
            sequence: 0,
        }
    }

    /// Changes how many slots there are, at least one. Where more are taken than that, nobody loses
    /// one for it: there are that many too many until some of them leave.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
    }

    /// Returns how many slots are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// Returns how many slots a holder has.
    pub fn held_by(&self, holder: SlotHolder) -> usize {
        self.by_holder.get(&holder).map_or(0, BTreeSet::len)
    }

    /// Gives a slot to `holder` if it can have one. `is_resting` is asked about slots that were marked as resting:
    /// one that works again by now is not taken as resting.
    pub fn arrive(
        &mut self,
        holder: SlotHolder,
        value: impl FnOnce() -> T,
        is_resting: impl Fn(&T) -> bool,
    ) -> Option<Arrival<T>> {
        let evicted = if self.taken.len() < self.capacity {
            None
        } else {
            let victim = self.victim_for(holder, is_resting)?;
            self.leave(victim)
        };
        let slot = SlotId(self.next());
        let rank = (Use::Working, slot.0, slot);
        self.insert_rank(holder, rank);
        self.taken.insert(slot, Taken { holder, rank, value: value() });
        Some(Arrival { slot, evicted })
    }

    /// Notes whether nothing has happened in a slot for a while.
    pub fn mark_resting(&mut self, slot: SlotId, is_resting: bool) {
        self.mark(slot, if is_resting { Use::Resting } else { Use::Working });
    }

    /// Frees a slot, and returns its value. `None`: it was evicted before.
    pub fn leave(&mut self, slot: SlotId) -> Option<T> {
        let Taken { holder, rank, value } = self.taken.remove(&slot)?;
        let ranks = self.by_holder.get_mut(&holder).expect("a holder of a slot is in the books");
        let count = ranks.len();
        ranks.remove(&rank);
        if ranks.is_empty() {
            self.by_holder.remove(&holder);
        }
        self.count(holder, count, count - 1);
        Some(value)
    }

    /// The slot that a newcomer gets when all are taken.
    fn victim_for(&mut self, newcomer: SlotHolder, is_resting: impl Fn(&T) -> bool) -> Option<SlotId> {
        let held = match newcomer {
            SlotHolder::Client(_) => self.held_by(newcomer),
            SlotHolder::Exempt => 0,
        };
        if let Some(&(most, client)) = self.by_count.last()
            && most > held + 1
        {
            let largest = SlotHolder::Client(client);
            return self.resting_of(largest, &is_resting).or_else(|| self.first_of(largest));
        }
        self.resting_of(newcomer, &is_resting).or_else(|| self.resting_of(SlotHolder::Exempt, &is_resting))
    }

    /// The slot of a holder that has rested longest. Those that were marked and work again are ranked anew.
    fn resting_of(&mut self, holder: SlotHolder, is_resting: impl Fn(&T) -> bool) -> Option<SlotId> {
        loop {
            let &(Use::Resting, _, slot) = self.by_holder.get(&holder)?.first()? else { return None };
            if is_resting(&self.taken[&slot].value) {
                return Some(slot);
            }
            self.mark(slot, Use::Working);
        }
    }

    fn first_of(&self, holder: SlotHolder) -> Option<SlotId> {
        self.by_holder.get(&holder)?.first().map(|&(_, _, slot)| slot)
    }

    fn mark(&mut self, slot: SlotId, used: Use) {
        let since = self.next();
        let Some(taken) = self.taken.get_mut(&slot) else { return };
        if taken.rank.0 == used {
            return;
        }
        let ranks = self.by_holder.get_mut(&taken.holder).expect("a holder of a slot is in the books");
        ranks.remove(&taken.rank);
        taken.rank = (used, since, slot);
        ranks.insert(taken.rank);
    }

    fn insert_rank(&mut self, holder: SlotHolder, rank: Rank) {
        let ranks = self.by_holder.entry(holder).or_default();
        ranks.insert(rank);
        let count = ranks.len();
        self.count(holder, count - 1, count);
    }

    fn count(&mut self, holder: SlotHolder, before: usize, now: usize) {
        let SlotHolder::Client(client) = holder else { return };
        self.by_count.remove(&(before, client));
        if now > 0 {
            self.by_count.insert((now, client));
        }
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn client(number: u8) -> SlotHolder {
        SlotHolder::Client(Claimant::at(IpAddr::V4(Ipv4Addr::new(127, 1, 1, number))))
    }

    /// Slots whose value says who holds them and whether they rest.
    type Table = Slots<(SlotHolder, bool)>;

    fn arrive(slots: &mut Table, holder: SlotHolder) -> Option<Arrival<(SlotHolder, bool)>> {
        slots.arrive(holder, || (holder, true), |(_, rests)| *rests)
    }

    fn fill(slots: &mut Table, holder: SlotHolder, count: usize) -> Vec<SlotId> {
        (0..count).map(|_| arrive(slots, holder).expect("there is room").slot).collect()
    }

    #[test]
    fn one_client_alone_takes_every_slot_and_not_one_more() {
        let mut slots = Table::new(4);
        fill(&mut slots, client(1), 4);
        assert!(arrive(&mut slots, client(1)).is_none());
        assert_eq!((slots.taken(), slots.held_by(client(1))), (4, 4));
    }

    #[test]
    fn a_newcomer_takes_its_share_from_the_client_that_holds_most() {
        let mut slots = Table::new(10);
        fill(&mut slots, client(1), 7);
        fill(&mut slots, client(2), 3);
        let losers: Vec<SlotHolder> = std::iter::from_fn(|| arrive(&mut slots, client(3)))
            .map(|arrival| arrival.evicted.expect("all slots are taken").0)
            .collect();
        assert_eq!(losers, [client(1); 3], "until 4, 3 and 3 are held");
    }

    #[test]
    fn what_rests_goes_first_then_what_works_longest() {
        let mut slots = Table::new(3);
        let held = fill(&mut slots, client(1), 3);
        slots.mark_resting(held[2], true);
        let evict = |slots: &mut Table, number| {
            arrive(slots, client(number)).expect("client 1 holds most").evicted.expect("all are taken");
            held.iter().map(|slot| slots.taken.contains_key(slot)).collect::<Vec<_>>()
        };
        assert_eq!(evict(&mut slots, 2), [true, true, false]);
        assert_eq!(evict(&mut slots, 3), [false, true, false]);
        assert!(arrive(&mut slots, client(4)).is_none(), "all clients hold one");
        assert_eq!(slots.leave(held[0]), None, "it was evicted");
    }

    #[test]
    fn a_slot_that_works_again_does_not_count_as_resting() {
        let mut slots = Table::new(2);
        let held = fill(&mut slots, client(1), 2);
        slots.mark_resting(held[0], true);
        slots.taken.get_mut(&held[0]).expect("it is held").value.1 = false;
        assert!(arrive(&mut slots, client(1)).is_none());
        slots.mark_resting(held[1], true);
        assert!(arrive(&mut slots, client(1)).is_some(), "a client replaces what rests of its own");
    }

    #[test]
    fn exempt_holders_lose_only_what_rests_and_always_get_in() {
        let mut slots = Table::new(4);
        let held = fill(&mut slots, SlotHolder::Exempt, 4);
        assert!(arrive(&mut slots, client(1)).is_none() && arrive(&mut slots, SlotHolder::Exempt).is_none());
        slots.mark_resting(held[1], true);
        assert!(arrive(&mut slots, client(1)).is_some());
        slots.mark_resting(held[2], true);
        assert!(arrive(&mut slots, client(1)).is_some());
        assert_eq!(
            arrive(&mut slots, SlotHolder::Exempt).expect("a client holds two").evicted,
            Some((client(1), true))
        );
    }

    proptest! {
        /// Whatever clients do: the bound holds, the books add up, a newcomer gets in as long as somebody holds two
        /// more than it, nobody below its share loses anything, and what is taken is never taken back by the loser.
        #[test]
        fn shares_hold_in_any_order_of_events(
            capacity in 1usize..12,
            events in prop::collection::vec((0u8..4, 0u8..5, any::<prop::sample::Index>()), 1..300),
        ) {
            let mut slots = Table::new(capacity);
            let mut held: Vec<(SlotId, SlotHolder)> = Vec::new();
            for (what, who, which) in events {
                if what >= 2 && !held.is_empty() {
                    let (slot, _) = held[which.index(held.len())];
                    if what == 2 {
                        slots.mark_resting(slot, true);
                    } else {
                        prop_assert!(slots.leave(slot).is_some());
                        held.retain(|(other, _)| *other != slot);
                    }
                    continue;
                }
                let holder = if who == 4 { SlotHolder::Exempt } else { client(who) };
                let mut before: BTreeMap<SlotHolder, usize> = BTreeMap::new();
                held.iter().for_each(|(_, holder)| *before.entry(*holder).or_default() += 1);
                let count = |holder: &SlotHolder| before.get(holder).copied().unwrap_or_default();
                let own = if holder == SlotHolder::Exempt { 0 } else { count(&holder) };
                let most = before.iter().filter(|(holder, _)| **holder != SlotHolder::Exempt).map(|(_, n)| *n).max();
                let arrival = arrive(&mut slots, holder);
                if held.len() < capacity || most.is_some_and(|most| most >= own + 2) {
                    prop_assert!(arrival.is_some(), "{holder:?} holds {own}, somebody {most:?}");
                }
                let Some(Arrival { slot, evicted }) = arrival else { continue };
                if let Some((loser, _)) = evicted {
                    prop_assert_eq!(held.len(), capacity, "nobody loses a slot while one is free");
                    let is_own = loser == holder || loser == SlotHolder::Exempt;
                    prop_assert!(is_own || count(&loser) >= own + 2, "{loser:?} lost to {holder:?}");
                    held.retain(|(slot, _)| slots.taken.contains_key(slot));
                }
                held.push((slot, holder));
                prop_assert!(slots.taken() <= capacity && slots.taken() == held.len());
                for (_, holder) in &held {
                    let holds = held.iter().filter(|(_, other)| other == holder).count();
                    prop_assert_eq!(slots.held_by(*holder), holds);
                }
            }
        }
    }
}
