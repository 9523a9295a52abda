//! Looks after the nodes of `up` while it runs: one whose token has ended gets another, and a gateway that stopped to answer is
//! told to the operator. It restarts nothing: Envoy and the workers read their tokens again.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{gateway, tokens, workers::Workers};
use crate::{admin_token::write_private, cli::Client, config::Settings};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// So many looks in a row must say the same: a token may be new, a worker about to go.
const SURE: u32 = 2;
/// So many looks in a row without an answer of the gateway are worth a word.
const SILENT: u32 = 3;

/// See the module.
pub struct Healer {
    pub settings: Settings,
    pub client: Client,
    pub workers: Arc<Workers>,
    pub notes: mpsc::Sender<String>,
    pub gateway: bool,
}

/// A node of `up` and its token.
struct Node {
    /// As in the log and on the terminal.
    name: String,
    node_id: String,
    /// None: the gateway.
    pool: Option<String>,
    token: String,
}

/// What was seen in the looks before.
#[derive(Default)]
struct Memory {
    /// How often in a row the token of a node was not known.
    ended: BTreeMap<String, u32>,
    /// Nodes whose healing failed and was told.
    complained: BTreeSet<String>,
    silent: u32,
}

impl Healer {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut memory = Memory::default();
        loop {
            tokio::time::sleep(EVERY).await;
            // While the control plane is away nothing can be said; the nodes go on with what they have.
            if tokens::is_ours(&self.client).await {
                for node in self.nodes().await {
                    self.look_after(node, &mut memory).await;
                }
            }
            if self.gateway {
                self.listen_to_gateway(&mut memory).await;
            }
        }
    }

    async fn nodes(&self) -> Vec<Node> {
        let gateway = if self.gateway { gateway::token(&self.settings) } else { None };
        let gateway = gateway.map(|token| Node {
            name: "gateway".to_owned(),
            node_id: gateway::NODE_ID.to_owned(),
            pool: None,
            token,
        });
        let workers = self.workers.list().await.into_iter().filter_map(|worker| {
            let token = std::fs::read_to_string(self.workers.token_file(&worker.name)).ok()?.trim().to_owned();
            Some(Node { name: worker.name, node_id: worker.node_id, pool: Some(worker.pool), token })
        });
        gateway.into_iter().chain(workers).collect()
    }

    async fn look_after(&self, node: Node, memory: &mut Memory) {
        let Some(ended) = tokens::has_ended(&self.client, &node.token).await else { return };
        if !ended {
            memory.ended.remove(&node.name);
            return;
        }
        let times = memory.ended.entry(node.name.clone()).or_insert(0);
        *times += 1;
        if *times < SURE {
            return;
        }
        match self.heal(&node).await {
            Ok(()) => {
                memory.complained.remove(&node.name);
                // The control plane needs a moment until it knows the new one.
                memory.ended.remove(&node.name);
                self.say(format!(
                    "{}: its node token had ended (revoked or replaced from outside); it has a new one (TG-1548)",
                    node.name
                ));
            }
            Err(reason) => {
                if memory.complained.insert(node.name.clone()) {
                    self.say(format!(
                        "{}: its node token has ended and could not be replaced (TG-1548): {reason}",
                        node.name
                    ));
                }
            }
        }
    }

    async fn heal(&self, node: &Node) -> Result<(), String> {
        let fresh =
            tokens::fresh(&self.client, &node.node_id, node.pool.as_deref(), None).await.map_err(|e| e.to_string())?;
        let written = match node.pool {
            None => gateway::hand_over(&self.settings, &fresh),
            Some(_) => write_private(&self.workers.token_file(&node.name), &fresh),
        };
        written.map_err(|e| e.to_string())
    }

    async fn listen_to_gateway(&self, memory: &mut Memory) {
        match gateway::ready(&self.settings).await {
            Ok(()) => {
                if memory.silent >= SILENT {
                    self.say("gateway answers again".to_owned());
                }
                memory.silent = 0;
            }
            Err(reason) => {
                memory.silent = memory.silent.saturating_add(1);
                if memory.silent == SILENT {
                    self.say(format!("gateway does not answer (TG-1549): {reason}"));
                }
            }
        }
    }

    fn say(&self, line: String) {
        if let Err(mpsc::error::TrySendError::Full(line)) = self.notes.try_send(line) {
            tracing::warn!(line, "too many notes at once");
        }
    }
}
