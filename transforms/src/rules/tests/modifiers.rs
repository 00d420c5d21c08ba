//! Every modifier of a selection.

use super::*;

#[test]
fn every_modifier_does_what_it_says() {
    let address = json!({"source.ip": "::ffff:10.1.2.3"});
    let row = json!({"pve.changes": [{"key": "name", "op": "change"}, {"key": "Protection", "op": "remove", "old": "1"}]});
    for (tests, fields, holds) in [
        (
            r#""user.id" = "ROOT@pam""#,
            json!({"user.id": "root@PAM"}),
            true,
        ),
        (
            r#""user.id|cased" = "ROOT@pam""#,
            json!({"user.id": "root@pam"}),
            false,
        ),
        (
            r#""user.name" = "STRAẞE""#,
            json!({"user.name": "straße"}),
            true,
        ),
        (r#""user.id" = ["a", "b"]"#, json!({"user.id": "b"}), true),
        (
            r#""user.id|neq" = ["a", "b"]"#,
            json!({"user.id": "b"}),
            false,
        ),
        (r#""user.id|neq" = ["a", "b"]"#, json!({}), true),
        (
            r#""user.id|neq|contains" = "oo""#,
            json!({"user.id": "root"}),
            false,
        ),
        (
            r#""user.id|contains" = "OO""#,
            json!({"user.id": "root"}),
            true,
        ),
        (
            r#""user.id|contains|all" = ["r", "x"]"#,
            json!({"user.id": "root"}),
            false,
        ),
        (
            r#""pve.change_keys|all" = ["a", "b"]"#,
            json!({"pve.change_keys": ["b", "c", "a"]}),
            true,
        ),
        (
            r#""pve.change_keys" = "b""#,
            json!({"pve.change_keys": ["b", "c"]}),
            true,
        ),
        (
            r#""pve.change_keys|neq" = "b""#,
            json!({"pve.change_keys": ["b", "c"]}),
            false,
        ),
        (
            r#""user.id|startswith" = "Ro""#,
            json!({"user.id": "root"}),
            true,
        ),
        (
            r#""user.id|endswith|cased" = "OT""#,
            json!({"user.id": "root"}),
            false,
        ),
        (
            r#""user.id|re" = '^ro+t@(pam|pve)$'"#,
            json!({"user.id": "ROOT@pam"}),
            true,
        ),
        (
            r#""user.id|re|cased" = '^ro+t'"#,
            json!({"user.id": "ROOT@pam"}),
            false,
        ),
        (
            r#""user.id|glob" = "*@p?m""#,
            json!({"user.id": "root@pam"}),
            true,
        ),
        (
            r#""user.id|glob" = "?@pam""#,
            json!({"user.id": "root@pam"}),
            false,
        ),
        (r#""source.ip|cidr" = "10.0.0.0/8""#, address.clone(), true),
        (r#""source.ip" = "10.1.2.3""#, address.clone(), true),
        (
            r#""source.ip" = "2001:DB8::1""#,
            json!({"source.ip": "2001:db8:0::1"}),
            true,
        ),
        (r#""source.ip|in" = ["10.0.0.0/8"]"#, address, true),
        (r#""pve.vmid" = 104"#, json!({"pve.vmid": "104"}), true),
        (r#""pve.vmid" = "104""#, json!({"pve.vmid": 104}), true),
        (r#""pve.vmid" = 104"#, json!({"pve.vmid": 104.0}), true),
        (r#""pve.vmid|gt" = 103"#, json!({"pve.vmid": "104"}), true),
        (r#""pve.vmid|lte" = 103"#, json!({"pve.vmid": 104}), false),
        (r#""pve.vmid|gt" = 103"#, json!({"pve.vmid": "many"}), false),
        (r#""pve.vmid|gt" = 103"#, json!({}), false),
        (
            r#""@timestamp|lt" = "2026-03-02T12:00:01Z""#,
            json!({}),
            true,
        ),
        (
            r#""user.id|exists" = true"#,
            json!({"user.id": null}),
            false,
        ),
        (r#""user.id|exists" = false"#, json!({}), true),
        (
            r#""user.id|fieldref" = "user.target.id""#,
            json!({"user.id": "A@pve", "user.target.id": "a@pve"}),
            true,
        ),
        (
            r#""user.id|fieldref|neq" = "user.target.id""#,
            json!({"user.id": "a", "user.target.id": "a"}),
            false,
        ),
        (
            r#""user.id|fieldref" = "user.target.id""#,
            json!({"user.id": "a"}),
            false,
        ),
        (
            r#""user.id|startswith|fieldref" = "user.name""#,
            json!({"user.id": "ann@pve", "user.name": "Ann"}),
            true,
        ),
        (r#""pve.changes.key" = "protection""#, row.clone(), true),
        (
            r#""pve.changes" = { key = "protection", op = "remove" }"#,
            row.clone(),
            true,
        ),
        (
            r#""pve.changes" = { key = "name", op = "remove" }"#,
            row.clone(),
            false,
        ),
        (
            r#""pve.changes" = [{ key = "x" }, { key = "protection", "old|neq" = "0" }]"#,
            row,
            true,
        ),
        (
            r#""pve.params.role" = "Administrator""#,
            json!({"pve.params": {"role": "Administrator", "path": "/"}}),
            true,
        ),
        (r#""event.id|startswith" = "0000""#, json!({}), true),
    ] {
        assert_eq!(
            selecting(tests).holds(&event(fields.clone())) == 1,
            holds,
            "{tests} on {fields}"
        );
    }
}
