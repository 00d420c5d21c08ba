//! Messages of ESXi and vCenter.

use serde_json::{Value, json};

use super::set::set;

const HEADER: &str =
    "info hostd[2099857] [Originator@6876 sub=Vimsvc.ha-eventmgr opID=esxui-c2f-8b54 user=root] ";

/// What the pattern sets, without what the header says.
fn text(pattern: &str, message: &str) -> Value {
    let mut all = set(json!({ "patterns": [format!("%{{{pattern}}}")] }), message);
    let fields = all.as_object_mut().unwrap();
    let header = [
        "log.level",
        "pve.vsphere.thread",
        "pve.vsphere.sub",
        "pve.vsphere.operation",
        "pve.vsphere.user",
    ];
    fields.retain(|field, _| !header.contains(&field.as_str()));
    all
}

#[test]
fn the_header_is_read_in_the_forms_of_several_releases() {
    let whole = json!({
        "log.level": "info", "pve.vsphere.thread": "2099857", "pve.vsphere.sub": "Vimsvc.ha-eventmgr",
        "pve.vsphere.operation": "esxui-c2f-8b54", "pve.vsphere.user": "root", "pve.vsphere.text": "what\nelse",
    });
    let pattern = || json!({ "patterns": ["%{ESXI_HOSTD}"] });
    assert_eq!(set(pattern(), &format!("{HEADER}what\nelse")), whole);
    let user = r"[Originator@6876 sub=vpxLro opID=k1-1 user=VSPHERE.LOCAL\Administrator] x";
    assert_eq!(
        set(pattern(), user),
        json!({
            "pve.vsphere.sub": "vpxLro", "pve.vsphere.operation": "k1-1", "pve.vsphere.user": r"VSPHERE.LOCAL\Administrator",
            "pve.vsphere.text": "x",
        })
    );
    let vpxd = "2026-03-14T22:58:03.412Z info vpxd[05921] [Originator@6876 sub=vpxLro opID=52c4] [VpxLRO] -- BEGIN lro-1";
    assert_eq!(
        set(json!({ "patterns": ["%{VCENTER_VPXD}"] }), vpxd),
        json!({
            "log.level": "info", "pve.vsphere.thread": "05921", "pve.vsphere.sub": "vpxLro", "pve.vsphere.operation": "52c4",
            "pve.vsphere.text": "[VpxLRO] -- BEGIN lro-1",
        })
    );
}

#[test]
fn what_happened_is_read_from_the_text_of_the_event() {
    let vm = |more: Value| {
        let mut all = json!({
            "pve.object.name": "db 1", "pve.vsphere.host": "esx1.example", "pve.vsphere.datacenter": "ha-datacenter",
        });
        let all_fields = all.as_object_mut().unwrap();
        all_fields.extend(more.as_object().unwrap().clone());
        all
    };
    for (said, expected) in [
        (
            "User root@192.0.2.10 logged in as Mozilla/5.0 (X11; Linux)",
            json!({"user.id": "root", "source.ip": "192.0.2.10", "user_agent.original": "Mozilla/5.0 (X11; Linux)"}),
        ),
        (
            "User root@192.0.2.10 logged out (login time: Saturday, 14 March, 2026 22:58:03, number of API invocations: 0)",
            json!({"user.id": "root", "source.ip": "192.0.2.10", "event.reason": "login time: Saturday, 14 March, 2026 22:58:03, number of API invocations: 0"}),
        ),
        (
            "Cannot login eve@example@2001:db8::7",
            json!({"user.id": "eve@example", "source.ip": "2001:db8::7"}),
        ),
        (
            "Rejected password for user root from 192.0.2.10",
            json!({"event.action": "Rejected", "user.id": "root", "source.ip": "192.0.2.10"}),
        ),
        (
            "A ticket for db 1 of type webmks on esx1.example in ha-datacenter has been acquired",
            vm(json!({"pve.vsphere.ticket": "webmks"})),
        ),
        (
            "Remote console to db 1 on esx1.example in ha-datacenter has been opened",
            vm(json!({"event.action": "opened"})),
        ),
        (
            "Created virtual machine db 1 on esx1.example in ha-datacenter",
            vm(json!({})),
        ),
        (
            "Removed db 1 on esx1.example from ha-datacenter",
            vm(json!({})),
        ),
        (
            "db 1 on  esx1.example in ha-datacenter is powered on",
            vm(json!({"event.action": "powered on"})),
        ),
        (
            "db 1 on esx1.example in ha-datacenter has powered off",
            vm(json!({"event.action": "powered off"})),
        ),
        (
            "Reconfigured db 1 on esx1.example in ha-datacenter.  \n\nModified:\nconfig.memory: 4096 -> 8192",
            vm(json!({"pve.change": "Modified:\nconfig.memory: 4096 -> 8192"})),
        ),
        (
            "Migrating db 1 from esx0.example, ds 0 to esx1.example, ds 1 in ha-datacenter",
            vm(
                json!({"pve.vsphere.from": "esx0.example", "pve.vsphere.from_datastore": "ds 0", "pve.vsphere.datastore": "ds 1"}),
            ),
        ),
        (
            "Task: Create virtual machine snapshot",
            json!({"event.action": "Create virtual machine snapshot"}),
        ),
        (
            "SSH access has been enabled.",
            json!({"service.name": "SSH access", "event.action": "enabled"}),
        ),
        (
            "SSH session was opened for 'root@192.0.2.5'.",
            json!({"event.action": "opened", "user.id": "root", "source.ip": "192.0.2.5"}),
        ),
    ] {
        let mut with_id = expected.clone();
        with_id["pve.vsphere.event.id"] = json!(184);
        assert_eq!(
            text("ESXI_HOSTD", &format!("{HEADER}Event 184 : {said}")),
            with_id,
            "{said}"
        );
        let vcenter = format!(
            r"Event [8675309] [1-1] [2026-03-14T22:58:03.412345Z] [vim.event.Some] [info] [VSPHERE.LOCAL\admin] [DC 1] [8675308] [{said}]"
        );
        let read = text("VCENTER_EVENT", &vcenter);
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&read[field], value, "{vcenter}");
        }
        assert_eq!(
            (
                &read["pve.vsphere.event.id"],
                &read["pve.vsphere.event.chain"],
                &read["pve.vsphere.event.type"]
            ),
            (
                &json!(8_675_309),
                &json!(8_675_308),
                &json!("vim.event.Some")
            ),
        );
        assert_eq!(read["pve.vsphere.text"], Value::Null, "{vcenter}");
    }
}

#[test]
fn vobd_the_shell_and_sshd() {
    assert_eq!(
        text(
            "ESXI_VOBD",
            "[UserLevelCorrelator] 512345us: [esx.audit.ssh.enabled] SSH access has been enabled."
        ),
        json!({
            "pve.vsphere.correlator": "UserLevelCorrelator", "pve.vsphere.event.type": "esx.audit.ssh.enabled",
            "pve.vsphere.text": "SSH access has been enabled.",
        })
    );
    assert_eq!(
        text("ESXI_SHELL", "[root]: esxcli system account add -i eve"),
        json!({"user.name": "root", "process.command_line": "esxcli system account add -i eve"})
    );
    for (line, expected) in [
        (
            "Accepted keyboard-interactive/pam for root from 192.0.2.5 port 51234 ssh2",
            json!({"event.action": "Accepted", "pve.vsphere.method": "keyboard-interactive/pam", "user.name": "root", "source.ip": "192.0.2.5", "source.port": 51234}),
        ),
        (
            "Failed password for invalid user a b from 2001:db8::5 port 9 ssh2",
            json!({"event.action": "Failed", "pve.vsphere.method": "password", "user.name": "a b", "source.ip": "2001:db8::5", "source.port": 9}),
        ),
        (
            "error: PAM: Authentication failure for illegal user eve from 192.0.2.5",
            json!({"event.reason": "Authentication failure", "user.name": "eve", "source.ip": "192.0.2.5"}),
        ),
        (
            "Connection from 192.0.2.5 port 51234",
            json!({"source.ip": "192.0.2.5", "source.port": 51234}),
        ),
        (
            "Connection closed by authenticating user root 192.0.2.5 port 51234 [preauth]",
            json!({"event.action": "closed", "user.name": "root", "source.ip": "192.0.2.5", "source.port": 51234}),
        ),
        (
            "pam_unix(sshd:session): session opened for user root by (uid=0)",
            json!({"event.action": "opened", "user.name": "root"}),
        ),
    ] {
        assert_eq!(text("ESXI_SSHD", line), expected, "{line}");
    }
}
