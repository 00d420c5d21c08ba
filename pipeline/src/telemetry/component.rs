//! The counters of one worker of one component, under the names Vector uses, so that its dashboards port by their prefix.

use std::sync::Arc;
use std::time::Duration;

use super::health::HealthCell;
use super::metric::{Counter, Family, Gauge, Gauges, Histogram};
use super::samples::{Merge, Samples};
use crate::component::Kind;
use crate::told::{OwnEvents, Told};

/// What a component was doing when an error occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Taking something in.
    Receiving,
    /// Working on it.
    Processing,
    /// Sending it out.
    Sending,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Receiving => "receiving",
            Stage::Processing => "processing",
            Stage::Sending => "sending",
        }
    }
}

/// Tells the program's own events in the name of one component.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) own: Arc<OwnEvents>,
    pub(super) kind: Kind,
    pub(super) id: String,
}

impl Teller {
    fn tell(&self, told: Told) {
        self.own
            .tell(told, Some((self.kind.name(), self.id.as_str().into())));
    }
}

const SOURCE: u8 = 1;
const TRANSFORM: u8 = 2;
const SINK: u8 = 4;
const ALL: u8 = SOURCE | TRANSFORM | SINK;
/// Shown only once it has counted something.
const USED: u8 = 0;

/// Whether a component of this kind shows the metric even while it is zero.
fn shows(kinds: u8, kind: Kind) -> bool {
    let bit = match kind {
        Kind::Source => SOURCE,
        Kind::Transform => TRANSFORM,
        Kind::Sink => SINK,
    };
    kinds & bit != 0
}

macro_rules! component_metrics {
    (
        counters { $($(#[$cdoc:meta])* $counter:ident = $cname:literal $([$clabel:literal = $cvalue:literal])? on $ckinds:expr, $chelp:literal;)* }
        families { $($(#[$fdoc:meta])* $family:ident = $fname:literal by [$($flabel:literal),+], $fhelp:literal;)* }
        gauges { $($(#[$gdoc:meta])* $gauge:ident = $gname:literal $merge:ident on $gkinds:expr, $ghelp:literal;)* }
        histograms { $($(#[$hdoc:meta])* $histogram:ident = $hname:literal on $hkinds:expr, $hhelp:literal;)* }
    ) => {
        /// What one worker of a component counts. It lies on cache lines of its own, so two workers never share one.
        #[derive(Debug)]
        #[repr(align(128))]
        pub struct ComponentMetrics {
            $($(#[$cdoc])* pub $counter: Counter,)*
            $($(#[$fdoc])* pub $family: Family<{ [$($flabel),+].len() }>,)*
            $($(#[$gdoc])* pub $gauge: Gauge,)*
            $($(#[$hdoc])* pub $histogram: Histogram,)*
            /// Until when each node of a cluster has been asked, by its name [s since 1970].
            pub api_poll_cursor: Gauges,
            /// What each rule remembers, by its id [things].
            pub rule_state_keys: Gauges,
            /// Whether a rule gave something up lately to stay within its bounds, by its id [0 or 1].
            pub rule_degraded: Gauges,
            health: HealthCell,
            teller: Teller,
        }

        impl ComponentMetrics {
            pub(super) fn new(teller: Teller) -> Self {
                Self {
                    $($counter: Counter::default(),)*
                    $($family: Family::default(),)*
                    $($gauge: Gauge::default(),)*
                    $($histogram: Histogram::default(),)*
                    api_poll_cursor: Gauges::default(),
                    rule_state_keys: Gauges::default(),
                    rule_degraded: Gauges::default(),
                    health: HealthCell::default(),
                    teller,
                }
            }

            /// Adds everything counted here to `samples`; gauges only while the worker lives.
            pub(super) fn read(&self, kind: Kind, live: bool, samples: &mut Samples) {
                $({
                    let value = self.$counter.get();
                    if value > 0 || shows($ckinds, kind) {
                        samples.counter($cname, $chelp, &[$(($clabel, $cvalue))?], value);
                    }
                })*
                $(self.$family.each(|values, value| {
                    let mut at = values.iter();
                    let labels = [$($flabel),+].map(|name| (name, at.next().map_or("", String::as_str)));
                    samples.counter($fname, $fhelp, &labels, value);
                });)*
                if live {
                    self.api_poll_cursor.each(|node, value| {
                        let key = ("api_poll_cursor_timestamp_seconds", vec![("node", node.to_owned())]);
                        samples.gauge_of(key, "Until when a node of a cluster has been asked.", value, Merge::Max);
                    });
                    self.rule_state_keys.each(|rule, value| {
                        let key = ("rule_state_keys", vec![("rule", rule.to_owned())]);
                        samples.gauge_of(key, "What a rule remembers.", value, Merge::Sum);
                    });
                    self.rule_degraded.each(|rule, value| {
                        let key = ("rule_degraded", vec![("rule", rule.to_owned())]);
                        let help = "1 while a rule finds less than there is: it gave something up to stay within its bounds.";
                        samples.gauge_of(key, help, value, Merge::Max);
                    });
                    $({
                        let value = self.$gauge.get();
                        if value != 0.0 || shows($gkinds, kind) {
                            samples.gauge($gname, $ghelp, value, Merge::$merge);
                        }
                    })*
                }
                $({
                    let (classes, sum) = self.$histogram.read();
                    if shows($hkinds, kind) || classes.iter().any(|n| *n > 0) {
                        samples.histogram($hname, $hhelp, &classes, sum);
                    }
                })*
            }
        }
    };
}

component_metrics! {
    counters {
        /// Events that arrived: read by a source, taken from a lane by the others.
        received_events = "component_received_events_total" on ALL, "Events a component has taken in.";
        /// Their size [bytes].
        received_event_bytes = "component_received_event_bytes_total" on ALL, "Size of the events a component has taken in.";
        /// Size of the events sent on [bytes].
        sent_event_bytes = "component_sent_event_bytes_total" on USED, "Size of the events a component has passed on or delivered.";
        /// Events left out by name (`out.filtered`).
        filtered = "component_discarded_events_total" ["intentional" = "true"] on TRANSFORM, "Events that were left out.";
        /// Events that vanished otherwise: by design nothing counts here, and an alert on it is an alert on us.
        discarded = "component_discarded_events_total" ["intentional" = "false"] on ALL, "Events that were left out.";
        /// Events that the receiver had already (an answer 409, a JetStream duplicate).
        duplicates = "events_duplicate_total" on USED, "Events the receiver knew already by their id.";
        /// Events that the receiver took but stored elsewhere (a failure store).
        redirected = "events_redirected_total" on USED, "Events the receiver stored in another place than asked.";
        /// Events that went into another one (`join`); they are also counted as left out by name.
        joined = "events_joined_total" on USED, "Parts of a message that went into the event of its first part.";
        /// Events that nothing in the catalogue of event IDs fits.
        unclassified = "events_unclassified_total" on USED, "Events that nothing in the catalogue of event IDs fits (PVE-0000).";
        /// What a stateful transform had to let go of early, because it remembers no more than so much.
        evicted = "state_evicted_total" on USED, "Things a stateful transform let go of early, to stay within its bounds.";
        /// Events without an attributable source address.
        unattributed = "events_unattributed_total" on USED, "Events about which it is not known where they came from.";
        /// Events that were stored under the time of sending because their own would have been refused.
        restamped = "events_restamped_total" on USED, "Events stored under the time of sending, their own beside it.";
        /// Pieces of structured metadata for which there was no room.
        metadata_left_out = "structured_metadata_left_out_total" on USED, "Pieces of structured metadata for which there was no room.";
        /// Writes that were tried again.
        retries = "component_retries_total" on SINK, "Writes that were tried again.";
        /// Requests sent by the HTTP client.
        http_requests = "http_client_requests_sent_total" on USED, "HTTP requests sent.";
        /// Events put into the lane or queue before this component.
        buffer_received_events = "buffer_received_events_total" on USED, "Events put into the buffer in front of a component.";
        /// Events taken out of it.
        buffer_sent_events = "buffer_sent_events_total" on USED, "Events taken out of the buffer in front of a component.";
        /// Events that a disk queue had and that cannot be read any more.
        buffer_discarded = "buffer_discarded_events_total" ["intentional" = "false"] on USED, "Events lost from the disk queue in front of a component because its files were damaged.";
        /// Positions or snapshots made durable.
        checkpoints = "checkpoints_total" on USED, "Positions and snapshots made durable.";
        /// Records whose checksum did not match what was read.
        checksum_errors = "checksum_errors_total" on USED, "Stored records whose checksum did not match.";
        /// Files read from their beginning.
        files_added = "files_added_total" on USED, "Files that are read from their beginning.";
        /// Files read on from a stored position.
        files_resumed = "files_resumed_total" on USED, "Files that are read on from a stored position.";
        /// Files that are no longer looked at.
        files_unwatched = "files_unwatched_total" on USED, "Files that are no longer read.";
        /// Files that were deleted while they were read.
        files_deleted = "files_deleted_total" on USED, "Files that were deleted while being read.";
        /// Files that became shorter than what had been read.
        files_truncated = "file_truncated_total" on USED, "Files that were truncated or rewritten while being read.";
        /// Connections accepted or made.
        connections_established = "connection_established_total" on USED, "Connections accepted or made.";
        /// Connections that could not be made.
        connections_failed = "connection_failed_total" on USED, "Connections that could not be made.";
        /// Connections that ended in order.
        connections_shutdown = "connection_shutdown_total" on USED, "Connections that ended in order.";
        /// Datagrams that the kernel dropped before they could be read.
        udp_kernel_drops = "udp_kernel_drops_total" on USED, "Datagrams dropped by the kernel before they were read.";
        /// Panics that were caught.
        panics = "component_panics_total" on USED, "Panics of a component that were contained.";
        /// Batches that failed and are read again from the stored position.
        failed_batches = "component_failed_batches_total" on USED, "Batches that failed and are made again from the stored position.";
        /// Events taken in with a batch that then failed; they come again and are counted again.
        failed_events = "component_failed_events_total" on USED, "Events of batches that failed; they are read again from the stored position.";
        /// Texts that held secrets.
        redacted = "secrets_redacted_total" on USED, "Secrets that were replaced in raw text.";
    }
    families {
        /// Events passed on or delivered, by output (`_default`, `errors`, a name).
        sent_events = "component_sent_events_total" by ["output"], "Events a component has passed on or delivered.";
        /// Bytes read, by protocol (`file`, `tcp`, `http`).
        received_bytes = "component_received_bytes_total" by ["protocol"], "Bytes a source has read.";
        /// Bytes written, by endpoint and protocol.
        sent_bytes = "component_sent_bytes_total" by ["endpoint", "protocol"], "Bytes a sink has written.";
        /// Events of one peer, by its address; after some hundred peers `other`.
        peer_received_events = "peer_received_events_total" by ["peer"], "Events a source has taken from one peer.";
        /// Connections turned away, by reason (`origin`, `peer_limit`, `no_certificate`).
        connections_refused = "connection_refused_total" by ["reason"], "Connections that were turned away.";
        /// Errors, by type (`parser_failed`, `request_failed`) and stage; use [`ComponentMetrics::error`].
        errors = "component_errors_total" by ["error_type", "stage"], "Errors a component has met.";
        /// Events put into the dead letters, by reason.
        dead_lettered = "events_dead_lettered_total" by ["reason"], "Events put into the dead letters.";
        /// Events with a label that has more values than are kept apart, by the label.
        label_overflow = "label_overflow_events_total" by ["label"], "Events with a label that has more values than are kept apart.";
        /// Errors of the disk queue in front of this component, by what happened.
        buffer_errors = "buffer_errors_total" by ["error_code"], "Errors of the disk queue in front of a component.";
        /// Answers the HTTP client got, by status.
        http_responses = "http_client_responses_total" by ["status"], "HTTP answers received.";
        /// Messages about alerts that were held back, by rule.
        alerts_suppressed = "alerts_suppressed_total" by ["rule"], "Alerts about which a message was held back: silenced, inhibited or muted.";
        /// Events that an enrichment table knows nothing of.
        enrichment_misses = "enrichment_misses_total" by ["table"], "Events whose key was not in an enrichment table.";
        /// Alerts opened, by rule and severity.
        alerts_fired = "alerts_fired_total" by ["rule", "severity"], "Alerts opened.";
        /// Requests a listening source has answered, by status.
        http_answered = "http_server_requests_total" by ["status"], "HTTP requests answered.";
        /// Places where input is known to be missing, by kind.
        gaps = "gap_detected_total" by ["kind"], "Places where input is known to be missing.";
        /// The program's own events, by code; use [`ComponentMetrics::tell`].
        told = "own_events_total" by ["code"], "Events the program told about itself, by their code.";
    }
    gauges {
        /// Events waiting in front of this component.
        buffer_events = "buffer_size_events" Sum on USED, "Events waiting in front of a component.";
        /// Their size [bytes].
        buffer_bytes = "buffer_size_bytes" Sum on USED, "Bytes waiting in front of a component.";
        /// Most events that may wait.
        buffer_max_events = "buffer_max_size_events" Sum on USED, "Most events that may wait in front of a component.";
        /// Most bytes that may wait.
        buffer_max_bytes = "buffer_max_size_bytes" Sum on USED, "Most bytes that may wait in front of a component.";
        /// Share of the time in which a worker was at work, 0 to 1.
        utilization = "utilization" Mean on TRANSFORM | SINK, "Share of the time in which a component was at work, 0 to 1.";
        /// Requests under way.
        in_flight = "adaptive_concurrency_in_flight" Sum on USED, "Requests under way.";
        /// Files held open.
        open_files = "open_files" Sum on USED, "Files held open.";
        /// Connections that are open.
        open_connections = "open_connections" Sum on USED, "Connections that are open.";
        /// Input that is read but not yet covered by a stored position, the largest of all lanes [bytes].
        checkpoint_lag_bytes = "checkpoint_lag_bytes" Max on USED, "Input read but not yet covered by a stored position, the largest of all lanes.";
        /// How far event time lies behind the clock [s].
        watermark_lag = "watermark_lag_seconds" Max on USED, "How far event time lies behind the clock.";
        /// Keys a stateful transform remembers.
        state_keys = "state_keys" Sum on USED, "Keys a stateful transform remembers.";
        /// Size of its last snapshot [bytes].
        state_bytes = "state_snapshot_size_bytes" Sum on USED, "Size of the last snapshot of a stateful transform.";
    }
    histograms {
        /// From the reading of an event to its leaving this component.
        latency = "component_latency_seconds" on USED, "From the reading of an event to its leaving a component.";
        /// From the event's own time to its reading.
        source_lag = "source_lag_time_seconds" on USED, "From the time of an event to its reading.";
        /// From a request to its answer.
        http_rtt = "http_client_rtt_seconds" on USED, "From an HTTP request to its answer.";
        /// What all rules together took for a batch of events; one batch in 16 is measured.
        rule_evaluation = "rule_evaluation_seconds" on USED, "Time all rules together took for a batch of events, of one batch in 16.";
    }
}

impl ComponentMetrics {
    /// Counts `n` errors. `error_type` is a word of a fixed list: `parser_failed`, `request_failed`, `io_failed`, …
    pub fn error(&self, error_type: &'static str, stage: Stage, n: u64) {
        self.errors.add([error_type, stage.name()], n);
    }

    /// Tells one of the program's own events, about this component unless it says otherwise. It never waits.
    pub fn tell(&self, told: Told) {
        self.told.add([told.code], 1);
        self.teller.tell(told);
    }

    /// Where the program's own events wait.
    #[must_use]
    pub fn own_events(&self) -> &Arc<OwnEvents> {
        &self.teller.own
    }

    /// Counts `n` events passed on or delivered through the unnamed output.
    pub fn sent(&self, n: u64) {
        self.sent_events.add(["_default"], n);
    }

    /// Counts one HTTP answer and how long it took.
    pub fn http_answer(&self, status: u16, took: Duration) {
        let mut text = itoa::Buffer::new();
        self.http_responses.add([text.format(status)], 1);
        self.http_rtt.observe(took);
    }

    /// How this worker is; what `/ready` looks at.
    #[must_use]
    pub fn health(&self) -> &HealthCell {
        &self.health
    }
}
