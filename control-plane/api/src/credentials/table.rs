//! All good tokens, in memory: who presents one, whether it has ended meanwhile, and when it was last used. It never holds a token, only
//! hashes, and asks nobody.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use chrono::{DateTime, TimeDelta, Utc};
use subtle::ConstantTimeEq;
use tidegate_policy::ports::{Everything, NodeAuth, NodeIdentity};

use super::{plain, proof, sha256};

/// A use that was noted less than this ago is not noted again.
const NOTED_EVERY: TimeDelta = TimeDelta::seconds(60);
/// Ended tokens that are remembered; beyond it all are forgotten.
const MOST_ENDED: usize = 4_096;
/// Uses that are remembered at a time; of more tokens the oldest use is forgotten.
const MOST_USES: usize = 65_536;

type Hash = [u8; 32];

/// Nodes and administrators can come back while the database is away. Until it is first filled it admits nobody.
#[derive(Default)]
pub struct TokenTable {
    tokens: ArcSwap<Tokens>,
    uses: Mutex<HashMap<Hash, Use>>,
}

#[derive(Default)]
struct Tokens {
    /// The store was read at least once.
    filled: bool,
    admins: Vec<(Hash, Good<Arc<str>>)>,
    nodes: HashMap<Hash, Good<NodeIdentity>>,
    /// The hash of each token, of administrators and of nodes, by the name under which a proof is asked for.
    names: HashMap<String, Hash>,
    /// Tokens that ended since this process started: whoever still comes with one can be named.
    ended: HashMap<Hash, NodeIdentity>,
}

/// Who it is, until when.
struct Good<T> {
    who: T,
    until: Option<DateTime<Utc>>,
}

impl<T> Good<T> {
    fn now(&self) -> Option<&T> {
        self.until.is_none_or(|until| until > Utc::now()).then_some(&self.who)
    }
}

#[derive(Clone, Copy)]
struct Use {
    last: DateTime<Utc>,
    /// When it was last handed on to be stored.
    noted: Option<DateTime<Utc>>,
}

impl TokenTable {
    /// A table that admits nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what the store holds now. Call it after each read of the store; a revoked token ends here.
    pub fn replace(&self, everything: &Everything) {
        let hash = |bytes: &[u8]| Hash::try_from(bytes).ok();
        let admins = everything
            .admin_tokens
            .iter()
            .filter_map(|t| Some((hash(&t.sha256)?, Good { who: Arc::from(t.name.as_str()), until: t.expires_at })));
        let nodes = everything
            .node_tokens
            .iter()
            .filter_map(|t| Some((hash(&t.sha256)?, Good { who: t.identity.clone(), until: t.ends_at })));
        let nodes: HashMap<Hash, Good<NodeIdentity>> = nodes.collect();
        let before = self.tokens.load();
        let held = before.nodes.iter().map(|(hash, good)| (hash, &good.who));
        let gone = before.ended.iter().chain(held).filter(|(hash, _)| !nodes.contains_key(*hash));
        let mut ended: HashMap<Hash, NodeIdentity> = gone.map(|(hash, who)| (*hash, who.clone())).collect();
        if ended.len() > MOST_ENDED {
            ended.clear();
        }
        let admins: Vec<_> = admins.collect();
        let hashes = admins.iter().map(|(hash, _)| *hash).chain(nodes.keys().copied());
        let names = hashes.map(|hash| (proof::id_of(&hash), hash)).collect();
        let tokens = Tokens { filled: true, admins, nodes, names, ended };
        self.uses().retain(|hash, _| tokens.nodes.contains_key(hash) || tokens.admins.iter().any(|(h, _)| h == hash));
        self.tokens.store(Arc::new(tokens));
    }

    /// Whether the store was read yet. Until then a good token cannot be told from a bad one.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.tokens.load().filled
    }

    /// Name of the administrator whose token this is. Takes the token, or a whole `Bearer` header value.
    #[must_use]
    pub fn admin(&self, bearer: &str) -> Option<Arc<str>> {
        let presented = sha256(plain(bearer));
        let mut found = None;
        // Every entry is compared, whichever matches.
        for (hash, good) in &self.tokens.load().admins {
            if bool::from(hash.ct_eq(&presented)) {
                found = good.now().cloned();
            }
        }
        if found.is_some() {
            self.used(presented);
        }
        found
    }

    /// The hash of the good token with this name; see [`proof::key_id`].
    #[must_use]
    pub fn named(&self, key_id: &str) -> Option<Hash> {
        let hash = self.tokens.load().names.get(key_id).copied();
        hash.filter(|hash| self.knows(hash))
    }

    /// Whether any token of this node is good.
    #[must_use]
    pub fn knows_node(&self, node_id: &str) -> bool {
        self.tokens.load().nodes.values().any(|good| good.who.node_id == node_id && good.now().is_some())
    }

    /// Whether a token with this hash is good.
    #[must_use]
    pub fn knows(&self, sha256: &[u8]) -> bool {
        let tokens = self.tokens.load();
        let admin = tokens.admins.iter().any(|(hash, good)| hash == sha256 && good.now().is_some());
        admin || Hash::try_from(sha256).is_ok_and(|h| tokens.nodes.get(&h).is_some_and(|good| good.now().is_some()))
    }

    /// When the token with this hash was last used here.
    #[must_use]
    pub fn last_used(&self, sha256: &[u8]) -> Option<DateTime<Utc>> {
        Some(self.uses().get(&Hash::try_from(sha256).ok()?)?.last)
    }

    /// Uses that are due to be stored: of each token at most one a minute.
    pub fn due(&self) -> Vec<(Vec<u8>, DateTime<Utc>)> {
        let mut uses = self.uses();
        let mut due = Vec::new();
        for (hash, used) in uses.iter_mut() {
            if used.noted.is_none_or(|noted| used.last - noted >= NOTED_EVERY) {
                used.noted = Some(used.last);
                due.push((hash.to_vec(), used.last));
            }
        }
        due
    }

    fn used(&self, hash: Hash) {
        let now = Utc::now();
        let mut uses = self.uses();
        if uses.len() >= MOST_USES && !uses.contains_key(&hash) {
            let oldest = uses.iter().min_by_key(|(_, used)| used.last).map(|(hash, _)| *hash);
            oldest.and_then(|hash| uses.remove(&hash));
        }
        uses.entry(hash).and_modify(|used| used.last = now).or_insert(Use { last: now, noted: None });
    }

    fn uses(&self) -> std::sync::MutexGuard<'_, HashMap<Hash, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeAuth for TokenTable {
    fn authenticate(&self, bearer: &str) -> Option<NodeIdentity> {
        let presented = sha256(plain(bearer));
        // The table is keyed by the hash, so the time of a look-up says nothing about a token.
        let found = self.tokens.load().nodes.get(&presented).and_then(Good::now).cloned();
        if found.is_some() {
            self.used(presented);
        }
        found
    }

    fn ended(&self, bearer: &str) -> Option<NodeIdentity> {
        let (presented, tokens) = (sha256(plain(bearer)), self.tokens.load());
        let by_itself = || tokens.nodes.get(&presented).filter(|good| good.now().is_none()).map(|good| &good.who);
        tokens.ended.get(&presented).or_else(by_itself).cloned()
    }

    fn is_ready(&self) -> bool {
        self.is_filled()
    }
}

impl std::fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.tokens.load();
        f.debug_struct("TokenTable").field("admins", &tokens.admins.len()).field("nodes", &tokens.nodes.len()).finish()
    }
}
