//! Readings of many workers, added up, and turned into the families that the text format wants.

use std::collections::BTreeMap;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::metric::BOUNDS;

/// How the gauges of several workers become one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Merge {
    Sum,
    Max,
    Mean,
}

#[derive(Clone, Debug)]
enum Value {
    Counter(u64),
    Gauge {
        value: f64,
        merge: Merge,
        workers: f64,
    },
    Histogram {
        classes: [u64; BOUNDS.len() + 1],
        sum: f64,
    },
}

/// A name and the label values that are a metric's own.
type Key = (&'static str, Vec<(&'static str, String)>);

/// Readings by name and labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    values: BTreeMap<Key, (Value, &'static str)>,
}

impl Samples {
    pub(super) fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        n: u64,
    ) {
        let key = (
            name,
            labels
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        );
        match self.values.get_mut(&key) {
            Some((Value::Counter(sum), _)) => *sum += n,
            _ => {
                self.values.insert(key, (Value::Counter(n), help));
            }
        }
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, new: f64, merge: Merge) {
        self.gauge_of((name, Vec::new()), help, new, merge);
    }

    pub(super) fn gauge_of(
        &mut self,
        key: (&'static str, Vec<(&'static str, String)>),
        help: &'static str,
        new: f64,
        merge: Merge,
    ) {
        match self.values.get_mut(&key) {
            Some((Value::Gauge { value, workers, .. }, _)) => {
                *workers += 1.0;
                *value = match merge {
                    Merge::Sum | Merge::Mean => *value + new,
                    Merge::Max => value.max(new),
                };
            }
            _ => {
                self.values.insert(
                    key,
                    (
                        Value::Gauge {
                            value: new,
                            merge,
                            workers: 1.0,
                        },
                        help,
                    ),
                );
            }
        }
    }

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        new: &[u64; BOUNDS.len() + 1],
        took: f64,
    ) {
        match self.values.get_mut(&(name, Vec::new())) {
            Some((Value::Histogram { classes, sum }, _)) => {
                for (class, n) in classes.iter_mut().zip(new) {
                    *class += n;
                }
                *sum += took;
            }
            _ => {
                self.values.insert(
                    (name, Vec::new()),
                    (
                        Value::Histogram {
                            classes: *new,
                            sum: took,
                        },
                        help,
                    ),
                );
            }
        }
    }

    /// Adds these readings, each with `labels` in front of its own, to `families`.
    pub(super) fn expose(&self, prefix: &str, labels: &[(&str, &str)], families: &mut Families) {
        for ((name, own), (value, help)) in &self.values {
            let pairs = labels
                .iter()
                .copied()
                .chain(own.iter().map(|(name, value)| (*name, value.as_str())));
            families.push(
                &format!("{prefix}{name}"),
                help,
                value.kind(),
                value.metric(pairs.map(pair).collect()),
            );
        }
    }
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Value::Counter(_) => MetricType::COUNTER,
            Value::Gauge { .. } => MetricType::GAUGE,
            Value::Histogram { .. } => MetricType::HISTOGRAM,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the text format knows floats only; exact up to 2^53 events"
    )]
    fn metric(&self, labels: Vec<LabelPair>) -> Metric {
        let mut metric = Metric::from_label(labels);
        match self {
            Value::Counter(n) => metric.set_counter(counter(*n as f64)),
            Value::Gauge {
                value,
                merge,
                workers,
            } => {
                metric.set_gauge(gauge(if matches!(merge, Merge::Mean) {
                    value / workers
                } else {
                    *value
                }));
            }
            Value::Histogram { classes, sum } => {
                let mut total = 0;
                let mut buckets = Vec::with_capacity(BOUNDS.len());
                for (bound, n) in BOUNDS.iter().zip(classes) {
                    total += n;
                    let mut bucket = Bucket::default();
                    bucket.set_upper_bound(*bound);
                    bucket.set_cumulative_count(total);
                    buckets.push(bucket);
                }
                let mut histogram = Histogram::default();
                histogram.set_sample_count(classes.iter().sum());
                histogram.set_sample_sum(*sum);
                histogram.set_bucket(buckets);
                metric.set_histogram(histogram);
            }
        }
        metric
    }
}

/// Families in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<String, MetricFamily>);

impl Families {
    /// Adds one metric to the family `name`, which is made when it is not there.
    pub(super) fn push(&mut self, name: &str, help: &str, kind: MetricType, metric: Metric) {
        let family = self.0.entry(name.to_owned()).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }

    /// A counter without any labels but `labels`.
    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let mut metric = Metric::from_label(labels.iter().copied().map(pair).collect());
        metric.set_counter(counter(value));
        self.push(name, help, MetricType::COUNTER, metric);
    }

    /// A gauge without any labels but `labels`.
    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let mut metric = Metric::from_label(labels.iter().copied().map(pair).collect());
        metric.set_gauge(gauge(value));
        self.push(name, help, MetricType::GAUGE, metric);
    }

    pub(super) fn into_vec(self) -> Vec<MetricFamily> {
        self.0.into_values().collect()
    }
}

fn counter(value: f64) -> Counter {
    let mut counter = Counter::default();
    counter.set_value(value);
    counter
}

fn gauge(value: f64) -> Gauge {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    gauge
}

fn pair((name, value): (&str, &str)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
