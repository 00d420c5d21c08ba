//! The fields that are read and written, made known once.

use std::sync::LazyLock;

use pipeline::Field;

macro_rules! names {
    ($($name:ident = $path:literal),* $(,)?) => {
        /// Fields of an audit event.
        pub(crate) struct Names { $(#[doc = $path] pub(crate) $name: Field),* }

        /// The one set of them.
        pub(crate) static NAMES: LazyLock<Names> = LazyLock::new(|| Names { $($name: Field::new($path)),* });
    };
}

names! {
    code = "event.code", action = "event.action", kind = "event.kind", category = "event.category",
    class = "event.type", outcome = "event.outcome", reason = "event.reason", severity = "event.severity",
    created = "event.created", dataset = "event.dataset", original = "event.original", start = "event.start",
    end = "event.end", duration = "event.duration", user = "user.id", user_name = "user.name",
    user_domain = "user.domain", target = "user.target.id", target_name = "user.target.name",
    target_domain = "user.target.domain", effective = "user.effective.name", token = "pve.token.id",
    actor = "pve.actor.kind", address = "source.ip", port = "source.port", destination = "destination.ip",
    destination_port = "destination.port", transport = "network.transport", attribution = "pve.source.attribution",
    node = "host.name", process = "process.name", pid = "process.pid", command = "process.command_line",
    cluster = "orchestrator.cluster.name", object_type = "pve.object.type", object_id = "pve.object.id",
    vmid = "pve.vmid", upid = "pve.task.upid", task_type = "pve.task.type", phase = "pve.task.phase",
    status = "pve.task.status", result = "pve.task.result", warnings = "pve.task.warnings",
    method = "http.request.method", path = "url.path", url = "url.original", http_version = "http.version",
    http_status = "http.response.status_code", http_bytes = "http.response.body.bytes", changes = "pve.changes",
    change_keys = "pve.change_keys", record = "pve.record", origin = "pve.origin", level = "pve.level",
    schema = "pve.schema", ecs = "ecs.version", agent_type = "agent.type", agent_version = "agent.version",
    agent_id = "agent.id", related_ip = "related.ip", related_user = "related.user", related_hosts = "related.hosts",
    query = "url.query", params = "pve.params", file = "log.file.path", changed_file = "file.path", appname = "log.syslog.appname", chain = "pve.firewall.chain", mac = "pve.firewall.mac",
    verdict = "pve.firewall.action", count = "pve.count", unit = "systemd.unit", snapshot = "pve.snapshot",
    vsphere_host = "pve.vsphere.host",
    interface_in = "observer.ingress.interface.name", interface_out = "observer.egress.interface.name",
    network_type = "network.type",
    uid = "process.user.id",
    executable = "process.executable",
}
