//! The playground's own registry, running beside a test.

use shipgate::playground::registry::{Config, Registry};
use tokio::runtime::Runtime;

/// A playground registry on threads of its own. It stops when it is dropped.
pub struct PlaygroundRegistry {
    registry: Registry,
    address: String,
    // Dropped last: the registry's tasks run on it.
    _runtime: Runtime,
}

impl PlaygroundRegistry {
    /// Starts an empty registry.
    pub fn start(config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let registry = runtime.block_on(Registry::start(config)).unwrap();
        Self {
            address: registry.address().to_string(),
            registry,
            _runtime: runtime,
        }
    }

    /// Returns the host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns `METHOD target status` of every request so far.
    pub fn exchanges(&self) -> Vec<String> {
        let exchanges = self.registry.exchanges();
        let lines = exchanges.iter();
        lines.map(|exchange| format!("{exchange:?}")).collect()
    }
}
