//! All mirrors of a server or of a command, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::mirror::Mirror;
use super::unusable::Unusable;

/// Mirrors by the name of their log. Clones share them.
#[derive(Clone, Default)]
pub struct Mirrors {
    logs: Arc<BTreeMap<String, Arc<Mirror>>>,
    /// Those whose database cannot be used. No name is in both.
    unusable: Arc<BTreeMap<String, Arc<Unusable>>>,
}

impl Mirrors {
    /// Makes a set of mirrors.
    pub fn new(mirrors: impl IntoIterator<Item = Mirror>) -> Mirrors {
        let named = |mirror: Mirror| (mirror.log.name().to_owned(), Arc::new(mirror));
        Mirrors { logs: Arc::new(mirrors.into_iter().map(named).collect()), unusable: Arc::default() }
    }

    /// Returns the mirror of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Mirror>> {
        self.logs.get(name)
    }

    /// Returns all of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Mirror>> {
        self.logs.values()
    }

    /// Adds those that cannot be used.
    pub fn and_unusable(self, unusable: impl IntoIterator<Item = Unusable>) -> Mirrors {
        let named = |unusable: Unusable| (unusable.name.clone(), Arc::new(unusable));
        Mirrors { unusable: Arc::new(unusable.into_iter().map(named).collect()), ..self }
    }

    /// Returns those that cannot be used, by name. None of them is among the others.
    pub fn unusable(&self) -> impl Iterator<Item = &Arc<Unusable>> {
        self.unusable.values()
    }

    /// Returns the mirror of this name, if it cannot be used.
    pub fn find_unusable(&self, name: &str) -> Option<&Arc<Unusable>> {
        self.unusable.get(name)
    }
}
