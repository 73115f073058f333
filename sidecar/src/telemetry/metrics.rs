//! The registry behind `/metrics`, in the OpenMetrics text format 1.0.

use std::sync::{Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metric families of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            registry: Mutex::new(Registry::with_prefix("tollgate")),
        }
    }
}

impl Metrics {
    /// Lets a room register its family.
    pub fn register<T>(&self, room: impl FnOnce(&mut Registry) -> T) -> T {
        room(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Registers figures that are read when asked for.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        self.register(|registry| registry.register_collector(collector));
    }

    /// Everything as text. Holds the registry's lock, which no request takes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String cannot fail; a collector that fails leaves a shorter text.
        if encode(&mut text, &registry).is_err() {
            tracing::warn!("a metric could not be written; /metrics is incomplete");
        }
        text
    }
}
