//! Places for streams: so many in all, so many of one node, so that one token cannot take them all. Counts only.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Refusal;

/// The places of one server.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    most_of_node: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Nodes with none are not in it.
    of_node: HashMap<String, usize>,
}

/// A place that is taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    node_id: String,
}

impl Places {
    pub fn new(most: usize, most_of_node: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_node, taken: Mutex::default() })
    }

    /// Takes a place for a stream of this node.
    ///
    /// # Errors
    /// [`Refusal::TooManyStreams`] or [`Refusal::TooManyOfNode`].
    pub fn take(self: &Arc<Self>, node_id: &str) -> Result<Place, Refusal> {
        let mut taken = self.lock();
        if taken.all >= self.most {
            return Err(Refusal::TooManyStreams { limit: self.most });
        }
        if taken.of_node.get(node_id).is_some_and(|count| *count >= self.most_of_node) {
            return Err(Refusal::TooManyOfNode { limit: self.most_of_node });
        }
        taken.all += 1;
        *taken.of_node.entry(node_id.to_owned()).or_default() += 1;
        Ok(Place { places: self.clone(), node_id: node_id.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing between two changes can panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(count) = taken.of_node.get_mut(&self.node_id) {
            *count -= 1;
            if *count == 0 {
                taken.of_node.remove(&self.node_id);
            }
        }
    }
}
