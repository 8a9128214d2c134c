//! Whose turn it is: shares of slot time by weight, by the virtual clocks of weighted fair queueing.

use std::collections::BTreeSet;
use std::hash::Hash;

use foldhash::{HashMap, HashMapExt as _};

/// What one microsecond of slot time adds to the clock of a member of weight 1.
const TICK: u64 = 1 << 10;
/// Members that rest are remembered with what they have used, up to this many.
const REMEMBERED: usize = 10_000;

/// Members that take turns: the next one is whoever has used the least slot time for its weight. A member that comes
/// back from a rest starts level with the others: it neither saves up turns nor pays for what it used long ago.
///
/// While `n` members of equal weight and cost have something to run, each gets every `n`th turn.
#[derive(Debug)]
pub(super) struct Fair<K> {
    members: HashMap<K, Member>,
    waiting: BTreeSet<(u64, K)>,
    /// The clock of the last turn.
    now: u64,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    clock: u64,
    waits: bool,
}

impl<K> Default for Fair<K> {
    fn default() -> Self {
        Fair { members: HashMap::new(), waiting: BTreeSet::new(), now: 0 }
    }
}

impl<K: Clone + Eq + Hash + Ord> Fair<K> {
    /// The member has something to run.
    pub fn enter(&mut self, key: &K) {
        let member = self.members.entry(key.clone()).or_insert(Member { clock: self.now, waits: false });
        if !member.waits {
            *member = Member { clock: member.clock.max(self.now), waits: true };
            self.waiting.insert((member.clock, key.clone()));
        }
    }

    /// The member has nothing to run for now.
    pub fn leave(&mut self, key: &K) {
        let Some(member) = self.members.get_mut(key).filter(|member| member.waits) else { return };
        member.waits = false;
        self.waiting.remove(&(member.clock, key.clone()));
        if self.members.len() > REMEMBERED.max(2 * self.waiting.len()) {
            self.members.retain(|_, member| member.waits);
        }
    }

    /// The member is gone, with what it has used.
    pub fn forget(&mut self, key: &K) {
        self.leave(key);
        self.members.remove(key);
    }

    /// Those that have something to run, in the order of their turns.
    pub fn in_turn(&self) -> impl Iterator<Item = &K> {
        self.waiting.iter().map(|(_, key)| key)
    }

    /// Whose turn it is.
    pub fn first(&self) -> Option<&K> {
        self.waiting.first().map(|(_, key)| key)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The member has its turn, which will cost about `micros` of slot time.
    pub fn charge(&mut self, key: &K, micros: u64, weight: u32) {
        let Some(member) = self.members.get_mut(key) else { return };
        self.now = self.now.max(member.clock);
        let clock = member.clock + cost(micros, weight);
        Self::move_to(&mut self.waiting, key, member, clock);
    }

    /// A turn is over that was charged `guessed` and took `micros`.
    pub fn settle(&mut self, key: &K, guessed: u64, micros: u64, weight: u32) {
        let Some(member) = self.members.get_mut(key) else { return };
        let clock = (member.clock + cost(micros, weight)).saturating_sub(cost(guessed, weight));
        Self::move_to(&mut self.waiting, key, member, clock);
    }

    fn move_to(waiting: &mut BTreeSet<(u64, K)>, key: &K, member: &mut Member, clock: u64) {
        if member.waits && clock != member.clock {
            waiting.remove(&(member.clock, key.clone()));
            waiting.insert((clock, key.clone()));
        }
        member.clock = clock;
    }
}

fn cost(micros: u64, weight: u32) -> u64 {
    micros.max(1).saturating_mul(TICK) / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(fair: &mut Fair<&'static str>, count: usize, weight: impl Fn(&str) -> u32) -> Vec<&'static str> {
        let mut turns = Vec::new();
        for _ in 0..count {
            let key = *fair.first().unwrap();
            fair.charge(&key, 100, weight(key));
            turns.push(key);
        }
        turns
    }

    #[test]
    fn equal_members_take_turns_and_a_newcomer_waits_for_one_round_at_most() {
        let mut fair = Fair::default();
        fair.enter(&"a");
        turns(&mut fair, 1000, |_| 1);
        fair.enter(&"b");
        assert!(turns(&mut fair, 2, |_| 1).contains(&"b"));
        let next = turns(&mut fair, 100, |_| 1);
        assert_eq!(next.iter().filter(|key| **key == "a").count(), 50);
    }

    #[test]
    fn turns_are_in_proportion_to_weights() {
        let mut fair = Fair::default();
        fair.enter(&"gold");
        fair.enter(&"tin");
        let turns = turns(&mut fair, 400, |key| if key == "gold" { 3 } else { 1 });
        assert_eq!(turns.iter().filter(|key| **key == "gold").count(), 300);
    }

    #[test]
    fn whoever_holds_slots_for_longer_gets_fewer_of_them() {
        let mut fair = Fair::default();
        fair.enter(&"slow");
        fair.enter(&"quick");
        let mut quick = 0;
        for _ in 0..1100 {
            let key = *fair.first().unwrap();
            fair.charge(&key, 100, 1);
            fair.settle(&key, 100, if key == "slow" { 1000 } else { 100 }, 1);
            quick += usize::from(key == "quick");
        }
        assert!((990..=1010).contains(&quick), "{quick}");
    }

    #[test]
    fn a_rest_saves_up_nothing_and_a_short_one_forgives_nothing() {
        let mut fair = Fair::default();
        fair.enter(&"a");
        fair.enter(&"b");
        turns(&mut fair, 10, |_| 1);
        fair.leave(&"b");
        turns(&mut fair, 1000, |_| 1);
        fair.enter(&"b");
        assert_eq!(turns(&mut fair, 10, |_| 1).iter().filter(|key| **key == "b").count(), 5);
        fair.charge(&"b", 1_000, 1);
        fair.leave(&"b");
        fair.enter(&"b");
        assert!(!turns(&mut fair, 8, |_| 1).contains(&"b"), "it has had its turns");
    }

    #[test]
    fn those_who_come_once_are_forgotten() {
        let mut fair = Fair::default();
        for tenant in 0..1_000_000u32 {
            fair.enter(&tenant);
            fair.charge(&tenant, 1, 1);
            fair.leave(&tenant);
        }
        assert!(fair.members.len() <= REMEMBERED);
    }
}
