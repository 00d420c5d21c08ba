//! What the program as a whole has to say, beside its components.

use std::sync::atomic::Ordering;

use super::Telemetry;
use super::samples::Families;

impl Telemetry {
    /// What the program as a whole has to say.
    #[expect(clippy::cast_precision_loss, reason = "reloads are few")]
    pub(super) fn own(&self, families: &mut Families) {
        let host = [("host", self.host.as_str())];
        let build = [
            host[0],
            ("version", self.version.as_str()),
            ("arch", std::env::consts::ARCH),
        ];
        families.gauge(
            "pvetrail_build_info",
            "What this program was built from; always 1.",
            &build,
            1.0,
        );
        families.counter(
            "pvetrail_started_total",
            "Starts of this process that reached work.",
            &host,
            f64::from(u8::from(self.started.load(Ordering::Relaxed))),
        );
        families.gauge(
            "pvetrail_start_time_seconds",
            "When this process began, in seconds since 1970.",
            &host,
            self.began_at,
        );
        families.gauge(
            "pvetrail_uptime_seconds",
            "How long this process has been running.",
            &host,
            self.began.elapsed().as_secs_f64(),
        );
        families.gauge(
            "pvetrail_sources_held",
            "Whether every source waits for a sink that must not miss anything (on_failure = hold): 0 or 1.",
            &host,
            f64::from(u8::from(!self.held.lock().is_empty())),
        );
        families.counter(
            "pvetrail_admin_refused_total",
            "Requests to the admin server without a token or with a wrong one.",
            &host,
            self.admin_refused.get() as f64,
        );
        families.counter(
            "pvetrail_reloaded_total",
            "Reloads of the configuration that took effect.",
            &host,
            self.reloads.get() as f64,
        );
        families.counter(
            "pvetrail_config_load_errors_total",
            "Configurations that could not be loaded.",
            &host,
            self.load_errors.get() as f64,
        );
    }

    /// The enrichment tables.
    #[expect(clippy::cast_precision_loss, reason = "rows fit into memory")]
    pub(super) fn of_tables(&self, families: &mut Families) {
        for table in self.tables.lock().iter() {
            let state = table.state();
            let labels = [
                ("table", state.id.as_str()),
                ("table_type", state.type_name),
                ("host", self.host.as_str()),
            ];
            families.gauge(
                "pvetrail_enrichment_table_rows",
                "Rows of an enrichment table that are in force.",
                &labels,
                state.rows as f64,
            );
            families.counter(
                "pvetrail_enrichment_table_loads_total",
                "Files of an enrichment table that took effect.",
                &labels,
                state.loads as f64,
            );
            families.counter(
                "pvetrail_enrichment_table_failures_total",
                "Files of an enrichment table that were refused, so that the rows of before stayed in force.",
                &labels,
                state.failures as f64,
            );
        }
    }
}
