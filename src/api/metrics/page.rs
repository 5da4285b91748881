//! A page of metrics in Prometheus's text format. What is on it is `read`'s to say.

use prometheus::{
    TextEncoder,
    core::Collector,
    process_collector::ProcessCollector,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::telemetry::tally::Durations;

/// Of a page.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Labels, each with its value.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page that is being written.
#[derive(Default)]
pub(super) struct Page(Vec<MetricFamily>);

/// All samples of one metric.
pub(super) struct Samples {
    kind: MetricType,
    samples: Vec<Metric>,
}

impl Page {
    /// Adds a number that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, write: impl FnOnce(&mut Samples)) {
        self.add(name, help, MetricType::COUNTER, write);
    }

    /// Adds a number that also falls.
    pub(super) fn gauge(&mut self, name: &str, help: &str, write: impl FnOnce(&mut Samples)) {
        self.add(name, help, MetricType::GAUGE, write);
    }

    /// Adds durations.
    pub(super) fn histogram(&mut self, name: &str, help: &str, write: impl FnOnce(&mut Samples)) {
        self.add(name, help, MetricType::HISTOGRAM, write);
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, write: impl FnOnce(&mut Samples)) {
        let mut samples = Samples { kind, samples: Vec::new() };
        write(&mut samples);
        // What is not known now is left out: the encoder takes no metric without a sample.
        if samples.samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(samples.samples);
        self.0.push(family);
    }

    /// The page, with what is known of the process.
    pub(super) fn finish(mut self) -> String {
        self.0.extend(ProcessCollector::for_self().collect());
        // It fails only at what `add` leaves out.
        TextEncoder::new().encode_to_string(&self.0).unwrap_or_default()
    }
}

impl Samples {
    /// Adds a number.
    pub(super) fn add(&mut self, labels: Labels<'_>, value: f64) {
        let mut metric = labelled(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.samples.push(metric);
    }

    /// Adds a count.
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus knows no other numbers, and these are far below 2^53"
    )]
    pub(super) fn count(&mut self, labels: Labels<'_>, value: u64) {
        self.add(labels, value as f64);
    }

    /// Adds durations.
    pub(super) fn durations(&mut self, labels: Labels<'_>, durations: &Durations) {
        let mut histogram = Histogram::default();
        histogram.set_sample_count(durations.count);
        histogram.set_sample_sum(durations.sum.as_secs_f64());
        let bucket = |(bound, count): &(std::time::Duration, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(*count);
            bucket
        };
        histogram.set_bucket(durations.at_most.iter().map(bucket).collect());
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.samples.push(metric);
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}
