//! The fields that are read and written here, looked up once.

use std::sync::LazyLock;

use pipeline::Field;

macro_rules! names {
    ($($name:ident = $path:literal),* $(,)?) => {
        /// The fields of a correlated event.
        pub(super) struct Names {
            $(#[doc = $path] pub(super) $name: Field,)*
        }

        /// All of them.
        pub(super) static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
            $($name: Field::new($path),)*
        });
    };
}

names! {
    record = "pve.record",
    origin = "pve.origin",
    upid = "pve.task.upid",
    phase = "pve.task.phase",
    links = "pve.links",
    attribution = "pve.source.attribution",
    candidates = "pve.source.candidates",
    evidence = "pve.source.evidence",
    via = "pve.source.via",
    actor = "pve.actor.kind",
    token = "pve.token.id",
    object_type = "pve.object.type",
    object_id = "pve.object.id",
    object_path = "pve.object.path",
    vmid = "pve.vmid",
    changes = "pve.changes",
    change_keys = "pve.change_keys",
    category = "event.category",
    kind = "event.type",
    related_ip = "related.ip",
    related_user = "related.user",
    file_path = "file.path",
    file_hash = "file.hash.sha256",
    target_id = "user.target.id",
    target_name = "user.target.name",
    target_domain = "user.target.domain",
    group_name = "group.name",
    firewall_rule = "pve.firewall.rule",
    observer = "observer.hostname",
    command = "process.command_line",
    start = "event.start",
}
