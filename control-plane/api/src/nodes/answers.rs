//! What the connected nodes of a group have answered, and what that means for one publication. Plain data: it locks nothing and
//! knows no policy.
use serde::Serialize;

use super::{RefusedResource, Standing, view};

/// How far the nodes of a group are with one publication.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Connected nodes that have ACKed everything up to it.
    pub acked: Vec<String>,
    /// Connected nodes that have not answered everything yet.
    pub pending: Vec<String>,
    /// What connected nodes refuse: node id and the resource (an empty name: not known which).
    pub refused: Vec<(String, RefusedResource)>,
    /// Nodes that serve requests, as far as is known, and have no ADS stream: gateways that were here, workers that report.
    pub absent: Vec<String>,
}

/// The answers of one group's connected nodes, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    connected: Vec<(String, Vec<TypeAnswer>)>,
    /// See [`Progress::absent`].
    pub(super) absent: Vec<String>,
}

#[derive(Clone, Debug)]
struct TypeAnswer {
    /// Everything up to here is ACKed; stands still while anything of the type is refused.
    acked: u64,
    /// Everything up to here is ACKed or refused.
    answered: u64,
    /// The node sent an error and it is still looked for which resource it means.
    searching: bool,
    refused: Vec<RefusedResource>,
}

impl TypeAnswer {
    /// The node has all of the publication that `concerns`, whatever it refuses of the rest.
    fn has(&self, generation: u64, concerns: impl Fn(&RefusedResource) -> bool) -> bool {
        let of_others = !self.searching && !self.refused.is_empty() && !self.refused.iter().any(concerns);
        self.acked >= generation || (of_others && self.answered >= generation)
    }
}

impl<'a> FromIterator<(String, &'a Standing)> for Answers {
    fn from_iter<I: IntoIterator<Item = (String, &'a Standing)>>(nodes: I) -> Self {
        let connected = nodes.into_iter().map(|(id, standing)| (id, types(standing))).collect();
        Self { connected, absent: Vec::new() }
    }
}

fn types(standing: &Standing) -> Vec<TypeAnswer> {
    let of_type = |status: &tidegate_xds::TypeStatus| {
        let answered = standing.answered.get(&status.type_url).copied().unwrap_or_default();
        let mut refused: Vec<_> = view::refusals(status).collect();
        // An error without a name is a refusal only when no part of the response is tried again.
        let searching = answered.waiting && refused.iter().any(|row| row.name.is_empty());
        if searching {
            refused.clear();
        }
        TypeAnswer { acked: status.generation, answered: answered.up_to, searching, refused }
    };
    standing.types.iter().map(of_type).collect()
}

impl Answers {
    /// How far the nodes are with publication `generation` (`GroupState::seq` of the group), for somebody whom only some
    /// resources concern: refusals of the others do not count. A refusal without a name concerns everybody.
    pub fn progress(&self, generation: u64, concerns: impl Fn(&RefusedResource) -> bool) -> Progress {
        let concerns = |row: &RefusedResource| row.name.is_empty() || concerns(row);
        let mut progress = Progress { absent: self.absent.clone(), ..Progress::default() };
        for (id, types) in &self.connected {
            let refused = types.iter().flat_map(|answer| &answer.refused).filter(|row| concerns(row));
            progress.refused.extend(refused.map(|row| (id.clone(), row.clone())));
            let has = !types.is_empty() && types.iter().all(|answer| answer.has(generation, concerns));
            if has { &mut progress.acked } else { &mut progress.pending }.push(id.clone());
        }
        progress
    }
}
