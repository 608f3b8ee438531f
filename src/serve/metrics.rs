//! What is counted, for Prometheus.

use std::time::Duration;

use glmtune_model::engine::EngineStatus;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Labels = Vec<(&'static str, String)>;

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Histogram,
    first_token: Histogram,
    between_tokens: Histogram,
    running: Gauge,
    waiting: Gauge,
    cache_used: Gauge,
    cache_kept: Gauge,
    cache_capacity: Gauge,
    steps: Total,
    prompt_tokens: Total,
    cached_tokens: Total,
    generated_tokens: Total,
}

/// A number that only grows and that another counts.
#[derive(Debug, Clone, Default)]
struct Total(Counter);

impl Total {
    fn set(&self, value: u64) {
        let counted = self.0.get();
        self.0.inc_by(value.saturating_sub(counted));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("glmtune"),
            requests: Family::default(),
            // 1 ms to 17 minutes.
            seconds: Histogram::new(exponential_buckets(0.001, 4.0, 11)),
            first_token: Histogram::new(exponential_buckets(0.005, 2.0, 15)),
            between_tokens: Histogram::new(exponential_buckets(0.001, 2.0, 13)),
            running: Gauge::default(),
            waiting: Gauge::default(),
            cache_used: Gauge::default(),
            cache_kept: Gauge::default(),
            cache_capacity: Gauge::default(),
            steps: Total::default(),
            prompt_tokens: Total::default(),
            cached_tokens: Total::default(),
            generated_tokens: Total::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "http_requests",
            "Requests by path and status",
            self.requests.clone(),
        );
        let times = [
            (
                "request_duration",
                "Time of requests, from their head to the end of the answer",
                &self.seconds,
            ),
            (
                "time_to_first_token",
                "Time from a request to the first token of its answer",
                &self.first_token,
            ),
            (
                "inter_token",
                "Time between two tokens of an answer",
                &self.between_tokens,
            ),
        ];
        for (name, help, histogram) in times {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        let gauges = [
            (
                "requests_running",
                "Answers that are being computed",
                &self.running,
            ),
            (
                "requests_waiting",
                "Answers that wait for a place",
                &self.waiting,
            ),
            (
                "cache_used_tokens",
                "Tokens whose keys and values running answers hold",
                &self.cache_used,
            ),
            (
                "cache_kept_tokens",
                "Tokens that are kept of earlier requests",
                &self.cache_kept,
            ),
            (
                "cache_capacity_tokens",
                "Tokens whose keys and values fit",
                &self.cache_capacity,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let totals = [
            ("steps", "Passes over the model", &self.steps),
            (
                "prompt_tokens",
                "Tokens of prompts that were computed",
                &self.prompt_tokens,
            ),
            (
                "cached_tokens",
                "Tokens of prompts taken from earlier requests",
                &self.cached_tokens,
            ),
            (
                "generated_tokens",
                "Tokens that were drawn",
                &self.generated_tokens,
            ),
        ];
        for (name, help, total) in totals {
            registry.register(name, help, total.0.clone());
        }
    }

    /// Counts a request. `path` is one of the router's, so that there are not many.
    pub fn count_request(&self, path: &str, status: u16, time: Duration) {
        let labels = vec![("path", path.to_string()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
        self.seconds.observe(time.as_secs_f64());
    }

    /// Counts the first token of an answer.
    pub fn count_first_token(&self, time: Duration) {
        self.first_token.observe(time.as_secs_f64());
    }

    /// Counts a further token.
    pub fn count_next_token(&self, time: Duration) {
        self.between_tokens.observe(time.as_secs_f64());
    }

    /// All numbers as text.
    ///
    /// # Errors
    /// If they cannot be written, which a string does not do.
    pub fn text(&self, status: &EngineStatus) -> Result<String, std::fmt::Error> {
        let gauges = [
            (&self.running, status.running),
            (&self.waiting, status.waiting),
            (&self.cache_used, status.used),
            (&self.cache_kept, status.kept),
            (&self.cache_capacity, status.capacity),
        ];
        for (gauge, value) in gauges {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.steps.set(status.steps);
        self.prompt_tokens.set(status.prompt_tokens);
        self.cached_tokens.set(status.cached_tokens);
        self.generated_tokens.set(status.generated_tokens);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn as_text() {
        let metrics = Metrics::new();
        metrics.count_request("/health", 200, Duration::from_millis(2));
        let status = EngineStatus {
            running: 3,
            generated_tokens: 7,
            ..EngineStatus::default()
        };
        metrics.text(&status).unwrap();
        let text = metrics.text(&status).unwrap();
        for line in [
            "glmtune_http_requests_total{path=\"/health\",status=\"200\"} 1",
            "glmtune_requests_running 3",
            "glmtune_generated_tokens_total 7",
            "glmtune_request_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
