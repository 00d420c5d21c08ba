//! `blackhole` takes events and forgets them, at once or after a while: to measure what stands before it.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use pipeline::{BuildErrors, Context, Events, Sink, SinkConfig, Workers, WriteError, Written};
use schemars::JsonSchema;
use serde::Deserialize;

/// Takes events and forgets them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long each write takes, to play a slow sink.
    delay: Option<pipeline::Duration>,
    /// How often the log says how many events came; never where it is not said.
    print_interval: Option<pipeline::Duration>,
}

impl SinkConfig for Config {
    const TYPE: &'static str = "blackhole";
    const WORKERS: Workers = Workers::Any;
    const EXAMPLE: &'static str = "delay = \"5ms\"\nprint_interval = \"10s\"";

    fn build(&self, cx: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        Ok(Box::new(Blackhole {
            id: cx.id().to_owned(),
            delay: self.delay.map(Duration::from),
            interval: self.print_interval.map(Duration::from),
            since: None,
            events: 0,
        }))
    }
}

struct Blackhole {
    id: String,
    delay: Option<Duration>,
    interval: Option<Duration>,
    /// When the log last said something.
    since: Option<Instant>,
    events: usize,
}

#[async_trait]
impl Sink for Blackhole {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        if let Some(interval) = self.interval {
            let since = *self.since.get_or_insert_with(Instant::now);
            self.events += events.len();
            let passed = since.elapsed();
            if passed >= interval {
                let rate = self.events as f64 / passed.as_secs_f64();
                tracing::info!(
                    component_id = self.id,
                    events = self.events,
                    "{rate:.0} events/s"
                );
                (self.since, self.events) = (Some(Instant::now()), 0);
            }
        }
        Ok(Written::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::{Event, EventId, Kind, Time};

    #[tokio::test]
    async fn it_takes_everything_and_as_long_as_it_is_told() {
        let events = Events::of(
            (0..3)
                .map(|n| Event::new(EventId([0, n]), Time(0)))
                .collect(),
        );
        let cx = Context::for_tests(Kind::Sink, "blackhole");
        let config: Config =
            serde_json::from_str(r#"{"delay": "30ms", "print_interval": "1ms"}"#).unwrap();
        let mut sink = config.build(&cx).unwrap();
        let begun = Instant::now();
        for _ in 0..2 {
            assert_eq!(sink.write(events.clone()).await, Ok(Written::default()));
        }
        assert!(begun.elapsed() >= Duration::from_millis(60));
        let mut fast = Config::default().build(&cx).unwrap();
        assert_eq!(fast.write(events).await, Ok(Written::default()));
    }
}
