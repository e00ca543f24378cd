//! Sets of agents, as bitmaps with two levels of summaries.
//!
//! A bit of a summary says whether the 64 bits below it hold anything, so that a search skips empty stretches 64 and
//! 4,096 agents at a time, and a search for what several sets have in common skips by the AND of their summaries. The
//! AND of summaries promises no common member, so a search may look at words in vain: at most one per 64 agents. Sets of
//! hashes or sorted lists were rejected: what matters here is the intersection, which they walk member by member.

use crate::ix::AgentIx;

/// Agents that the router can tell apart: three levels of 64. Beyond it a fleet is several clusters.
pub const AGENTS_MAX: usize = 64 * 64 * 64;

/// Where at least one index in so many is a member, guesses find one sooner than counting does.
const GUESS_ODDS: usize = 16;
/// Guesses before a member is counted out after all.
const GUESSES_MAX: usize = 16;

/// A summary of 64 words.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// One bit a word: it is not zero.
    words: u64,
    /// Members in them.
    len: u32,
}

/// A set of agents.
#[derive(Clone, Debug, Default)]
pub struct AgentSet {
    /// One bit an agent.
    words: Vec<u64>,
    /// Of 64 words each.
    blocks: Vec<Block>,
    /// One bit a block: it is not zero.
    top: u64,
    len: u32,
}

const fn bit(at: usize) -> u64 {
    1 << (at % 64)
}

/// All bits from `at` on.
const fn from_bit(at: usize) -> u64 {
    u64::MAX << (at % 64)
}

impl AgentSet {
    /// How many agents are in it.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the agent is in it.
    #[must_use]
    pub fn contains(&self, agent: AgentIx) -> bool {
        self.word(agent.at() / 64) & bit(agent.at()) != 0
    }

    /// Puts the agent in; says whether that changed anything. An index of [`AGENTS_MAX`] or above is not taken.
    pub fn insert(&mut self, agent: AgentIx) -> bool {
        let (at, word) = (agent.at(), agent.at() / 64);
        if at >= AGENTS_MAX || self.contains(agent) {
            return false;
        }
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
            self.blocks.resize(word / 64 + 1, Block::default());
        }
        self.words[word] |= bit(at);
        let block = &mut self.blocks[word / 64];
        block.words |= bit(word);
        block.len += 1;
        self.top |= bit(word / 64);
        self.len += 1;
        true
    }

    /// Takes the agent out; says whether that changed anything.
    pub fn remove(&mut self, agent: AgentIx) -> bool {
        if !self.contains(agent) {
            return false;
        }
        let (at, word) = (agent.at(), agent.at() / 64);
        self.words[word] &= !bit(at);
        let block = &mut self.blocks[word / 64];
        block.len -= 1;
        if self.words[word] == 0 {
            block.words &= !bit(word);
            if block.words == 0 {
                self.top &= !bit(word / 64);
            }
        }
        self.len -= 1;
        true
    }

    /// Puts the agent in or takes it out; says whether that changed anything.
    pub fn set(&mut self, agent: AgentIx, member: bool) -> bool {
        if member { self.insert(agent) } else { self.remove(agent) }
    }

    /// A member, each as likely as another.
    #[must_use]
    pub fn draw(&self, rng: &mut fastrand::Rng) -> Option<AgentIx> {
        let span = self.words.len() * 64;
        if self.len as usize * GUESS_ODDS >= span {
            let mut guesses = (0..GUESSES_MAX).map(|_| AgentIx::from(rng.usize(0..span.max(1))));
            if let Some(agent) = guesses.find(|&agent| self.contains(agent)) {
                return Some(agent);
            }
        }
        (self.len > 0).then(|| self.nth(rng.u32(0..self.len)))?
    }

    /// The member that has so many below it.
    fn nth(&self, nth: u32) -> Option<AgentIx> {
        let mut left = nth;
        let block = self.blocks.iter().position(|block| pass(&mut left, block.len))?;
        let mut words = self.words[block * 64..].iter();
        let word = words.position(|word| pass(&mut left, word.count_ones()))?;
        let mut bits = self.words[block * 64 + word];
        (0..left).for_each(|_| bits &= bits - 1);
        Some(AgentIx::from((block * 64 + word) * 64 + bits.trailing_zeros() as usize))
    }

    /// The members in rising order.
    pub fn iter(&self) -> impl Iterator<Item = AgentIx> + '_ {
        let after = |agent: &AgentIx| common_between(&[self], agent.at() + 1, AGENTS_MAX);
        std::iter::successors(common_between(&[self], 0, AGENTS_MAX), after)
    }

    fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(0)
    }

    fn block(&self, at: usize) -> u64 {
        self.blocks.get(at).map_or(0, |block| block.words)
    }
}

/// Whether `left` ends within the next `len`; else they are taken from it.
fn pass(left: &mut u32, len: u32) -> bool {
    let ends = *left < len;
    if !ends {
        *left -= len;
    }
    ends
}

impl FromIterator<AgentIx> for AgentSet {
    fn from_iter<I: IntoIterator<Item = AgentIx>>(agents: I) -> Self {
        let mut set = Self::default();
        for agent in agents {
            set.insert(agent);
        }
        set
    }
}

/// The first agent that is in all the sets, from `from` upwards and then from zero.
#[must_use]
pub fn first_common<const N: usize>(sets: [&AgentSet; N], from: AgentIx) -> Option<AgentIx> {
    let from = from.at();
    common_between(&sets, from, AGENTS_MAX).or_else(|| common_between(&sets, 0, from))
}

/// All agents that are in all the sets, from `from` upwards and then from zero.
pub fn common_from<const N: usize>(sets: [&AgentSet; N], from: AgentIx) -> impl Iterator<Item = AgentIx> {
    let (from, next) =
        (from.at(), move |at, until| common_between(&sets, at, until).filter(|agent| agent.at() < until));
    let run =
        move |at, until| std::iter::successors(next(at, until), move |agent: &AgentIx| next(agent.at() + 1, until));
    run(from, AGENTS_MAX).chain(run(0, from))
}

/// The first agent that is in all the sets, at or above `from`; nothing is looked for beyond the word that `until` is in.
fn common_between<const N: usize>(sets: &[&AgentSet; N], from: usize, until: usize) -> Option<AgentIx> {
    let common = |word: usize| sets.iter().fold(u64::MAX, |bits, set| bits & set.word(word));
    let mut word = from / 64;
    let mut bits = common(word) & from_bit(from);
    while bits == 0 {
        word = next_common_word(sets, word + 1)?;
        if word > until / 64 {
            return None;
        }
        bits = common(word);
    }
    Some(AgentIx::from(word * 64 + bits.trailing_zeros() as usize))
}

/// The first word from `from` on that is empty in none of the sets.
fn next_common_word<const N: usize>(sets: &[&AgentSet; N], from: usize) -> Option<usize> {
    let common = |block: usize| sets.iter().fold(u64::MAX, |bits, set| bits & set.block(block));
    let mut block = from / 64;
    let mut bits = common(block) & from_bit(from);
    if bits == 0 {
        let above = u64::MAX.checked_shl(u32::try_from(block + 1).unwrap_or(u32::MAX)).unwrap_or(0);
        let mut blocks = sets.iter().fold(above, |bits, set| bits & set.top);
        while bits == 0 {
            if blocks == 0 {
                return None;
            }
            block = blocks.trailing_zeros() as usize;
            blocks &= blocks - 1;
            bits = common(block);
        }
    }
    Some(block * 64 + bits.trailing_zeros() as usize)
}

#[cfg(test)]
#[path = "agent_set_tests.rs"]
mod tests;
