//! Small helpers over the encoder of `prometheus-client`, so that a family is one line.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::histogram::DurationHistogram;

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a str);

/// Writes families one after another.
pub(super) struct Exposition<'a>(DescriptorEncoder<'a>);

impl<'a> Exposition<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// A counter; `name` without its `_total`.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        fill: impl FnOnce(&mut Counters<'_>) -> fmt::Result,
    ) -> fmt::Result {
        fill(&mut Counters(self.0.encode_descriptor(name, help, None, MetricType::Counter)?))
    }

    /// A gauge.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        fill: impl FnOnce(&mut Gauges<'_>) -> fmt::Result,
    ) -> fmt::Result {
        fill(&mut Gauges(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?))
    }

    /// A histogram of durations; `name` with its `_seconds`.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        fill: impl FnOnce(&mut Histograms<'_>) -> fmt::Result,
    ) -> fmt::Result {
        fill(&mut Histograms(self.0.encode_descriptor(name, help, None, MetricType::Histogram)?))
    }

    /// Facts as labels; `name` without its `_info`.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[Label<'_>]) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}

/// The series of a counter.
pub(super) struct Counters<'a>(MetricEncoder<'a>);

impl Counters<'_> {
    pub(super) fn put(&mut self, labels: &[Label<'_>], value: u64) -> fmt::Result {
        self.encode(labels, value)
    }

    pub(super) fn put_seconds(&mut self, labels: &[Label<'_>], value: f64) -> fmt::Result {
        self.encode(labels, value)
    }

    fn encode(&mut self, labels: &[Label<'_>], value: impl EncodeCounterValue) -> fmt::Result {
        with_labels(&mut self.0, labels, |out| out.encode_counter::<NoLabelSet, _, f64>(&value, None))
    }
}

/// The series of a gauge.
pub(super) struct Gauges<'a>(MetricEncoder<'a>);

impl Gauges<'_> {
    pub(super) fn put(&mut self, labels: &[Label<'_>], value: f64) -> fmt::Result {
        with_labels(&mut self.0, labels, |out| out.encode_gauge(&value))
    }
}

/// The series of a histogram.
pub(super) struct Histograms<'a>(MetricEncoder<'a>);

impl Histograms<'_> {
    pub(super) fn put(&mut self, labels: &[Label<'_>], histogram: &DurationHistogram) -> fmt::Result {
        let (sum, buckets) = histogram.read();
        // From the same read as the buckets, so that a scrape never shows a count without its bucket.
        let count = buckets.iter().map(|(_, count)| count).sum();
        with_labels(&mut self.0, labels, |out| out.encode_histogram::<NoLabelSet>(sum, count, &buckets, None))
    }
}

/// Writes one series; an empty set of labels would leave a stray `{}`.
fn with_labels(
    out: &mut MetricEncoder<'_>,
    labels: &[Label<'_>],
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { encode(out) } else { encode(&mut out.encode_family(&labels)?) }
}
