//! The rules of the vectors.

pub(super) const CREATE_SPAM: &str = r#"
[[rule]]
id = "PVR-203"
name = "vm_create_spam"
severity = "medium"
version = 1
type = "event_count"
group_by = ["user.id"]
timespan = "1h"
condition = { gte = 10 }
[rule.select.made]
"event.code" = ["PVE-2001", "PVE-2003", "PVE-2012"]
"#;

pub(super) const OFF_HOURS: &str = r#"
[[calendar]]
name = "business"
zone = "Europe/Berlin"
days = ["mon", "tue", "wed", "thu", "fri"]
from = "08:00"
to = "18:00"
[[rule]]
id = "PVR-107"
name = "off_hours_access"
severity = "medium"
version = 1
type = "event"
outside = "business"
dedupe = "8h"
group_by = ["user.id"]
[rule.select.login]
"event.code" = "PVE-1001"
"#;

pub(super) const SPRAY: &str = r#"
[[rule]]
id = "T-spray"
name = "spray"
severity = "high"
version = 1
type = "value_count"
group_by = ["host.name"]
timespan = "15m"
condition = { field = "user.id", gte = 3 }
[rule.select.failed]
"event.code" = "PVE-1002"
"#;

pub(super) const NEW: &str = r#"
[[rule]]
id = "T-new"
name = "new"
severity = "high"
version = 1
type = "new_term"
fields = ["user.id"]
group_by = []
warmup = "0s"
[rule.select.x]
"event.code" = "PVE-1001"
"#;

pub(super) const HELD: &str = r#"
[[rule]]
id = "T-held"
name = "held"
severity = "high"
version = 1
type = "event"
when = "down"
hold = "60s"
unless = "up"
group_by = []
[rule.select.down]
"event.code" = "PVE-6004"
[rule.select.up]
"event.code" = "PVE-6005"
"#;

pub(super) const FALLING: &str = r#"
[[rule]]
id = "T-sum"
name = "sum"
severity = "high"
version = 1
type = "value_sum"
group_by = []
timespan = "10m"
condition = { field = "pve.vmid", gte = 10 }
[rule.select.x]
"event.code" = "PVE-2015"
"#;

pub(super) const MANY: &str = r#"
[[rule]]
id = "T-event"
name = "each"
severity = "high"
version = 1
type = "event"
group_by = ["user.id"]
dedupe = "10m"
[rule.select.x]
"event.code" = "PVE-2002"
"#;
