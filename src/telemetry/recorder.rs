//! The metrics library behind handles that are found once: the only module that knows it.

use std::sync::{Arc, OnceLock};

use metrics::{Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::names::{BILLED_SECONDS, COLD_START_SECONDS, Metric, QUEUE_BUCKETS, QUEUE_SECONDS, RUN_BUCKETS, RUN_SECONDS};

pub use metrics::{Counter, Gauge, Histogram};

const METADATA: Metadata<'static> = Metadata::new("windlass", Level::INFO, None);

#[derive(Clone, Debug, Default)]
pub struct Labels(Vec<Label>);

impl Labels {
    #[must_use]
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        let mut labels = self.0.clone();
        labels.push(Label::new(name, value.to_owned()));
        Labels(labels)
    }
}

#[derive(Clone)]
pub struct Registry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Registry {
    pub fn new() -> Result<Self, String> {
        let mut builder = PrometheusBuilder::new();
        let runs = [&RUN_SECONDS, &BILLED_SECONDS, &COLD_START_SECONDS].map(|metric| (metric, RUN_BUCKETS));
        for (metric, buckets) in runs.into_iter().chain([(&QUEUE_SECONDS, QUEUE_BUCKETS)]) {
            let name = Matcher::Full(metric.name.into());
            builder = builder.set_buckets_for_metric(name, buckets).map_err(|error| format!("{}: {error}", metric.name))?;
        }
        let recorder = builder.build_recorder();
        Ok(Registry { handle: recorder.handle(), recorder: recorder.into() })
    }

    pub fn counter(&self, metric: &Metric, labels: &Labels) -> Counter {
        self.recorder.describe_counter(metric.name.into(), None, metric.help.into());
        self.recorder.register_counter(&key(metric, labels), &METADATA)
    }

    pub fn gauge(&self, metric: &Metric, labels: &Labels) -> Gauge {
        self.recorder.describe_gauge(metric.name.into(), None, metric.help.into());
        self.recorder.register_gauge(&key(metric, labels), &METADATA)
    }

    pub fn histogram(&self, metric: &Metric, labels: &Labels) -> Histogram {
        self.recorder.describe_histogram(metric.name.into(), None, metric.help.into());
        self.recorder.register_histogram(&key(metric, labels), &METADATA)
    }

    pub fn render(&self) -> String {
        self.handle.render()
    }

    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn key(metric: &Metric, labels: &Labels) -> Key {
    Key::from_parts(metric.name, labels.0.clone())
}

/// Counters of one metric that differ in one label, each made when it first counts: words that never happen cost no line.
pub struct Family<const N: usize> {
    registry: Registry,
    metric: &'static Metric,
    labels: Labels,
    label: &'static str,
    counters: [OnceLock<Counter>; N],
}

impl<const N: usize> Family<N> {
    pub fn new(registry: &Registry, metric: &'static Metric, labels: &Labels, label: &'static str) -> Self {
        let counters = [const { OnceLock::new() }; N];
        Family { registry: registry.clone(), metric, labels: labels.clone(), label, counters }
    }

    /// The counter at `index`, whose label says `word`.
    pub fn at(&self, index: usize, word: &str) -> &Counter {
        self.counters[index].get_or_init(|| self.registry.counter(self.metric, &self.labels.with(self.label, word)))
    }
}
