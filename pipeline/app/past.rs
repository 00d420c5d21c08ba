//! The search store as the past of the rules: what it knows is not new to them at their first start.

use std::path::PathBuf;
use std::sync::Arc;

use pipeline::{Event, Graph, Time};
use sinks::sqlite::{self, Filter, Reader};
use transforms::anomaly::past::{self, Past};

/// Most events that are read, the newest [events].
const MOST: usize = 2_000_000;

/// Offers the store of a configuration, if it has one.
pub(crate) fn offer(graph: &Graph) {
    let data_dir = &graph.globals.data_dir;
    let store = graph
        .sinks
        .iter()
        .find_map(|node| node.component.as_any().downcast_ref::<sqlite::Config>());
    if let Some(store) = store {
        let file = store.file(data_dir);
        past::offer(data_dir, Arc::new(Store { file }));
    }
}

struct Store {
    file: PathBuf,
}

impl Past for Store {
    fn each(&self, codes: &[u16], from: Time, show: &mut dyn FnMut(&Event)) -> Result<(), String> {
        if !self.file.exists() {
            return Ok(());
        }
        let reader = Reader::open(&self.file).map_err(|why| why.to_string())?;
        let filter = Filter {
            codes: codes.iter().map(|code| format!("PVE-{code:04}")).collect(),
            from: Some(from),
            ..Filter::default()
        };
        let mut bodies = reader.bodies();
        let mut failed = None;
        let walked = reader.rows(&filter, MOST, &mut |row| {
            let event = bodies
                .json(row)
                .map_err(|why| why.to_string())
                .and_then(|json| serde_json::from_str(json).map_err(|why| why.to_string()))
                .and_then(Event::from_json);
            match event {
                Ok(event) => show(&event),
                Err(why) => failed = Some(why),
            }
            failed.is_none()
        });
        walked.map_err(|why| why.to_string())?;
        failed.map_or(Ok(()), Err)
    }
}
