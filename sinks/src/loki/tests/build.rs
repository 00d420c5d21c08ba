//! Mistakes of a configuration.

use super::*;

fn mistakes(options: Value) -> Vec<String> {
    let mut all = json!({ "endpoint": "http://127.0.0.1:1" });
    all.as_object_mut()
        .unwrap()
        .extend(options.as_object().unwrap().clone());
    match build(all) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_field_with_many_values_is_no_label_and_the_place_is_told() {
    for field in [
        "user.id",
        "pve.vmid",
        "source.ip",
        "pve.task.upid",
        "event.id",
        "message",
        "url.path",
    ] {
        let said = mistakes(json!({ "labels": { "who": format!("x{{{{ {field} }}}}") } }));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("labels.who: ")
                && said[0].contains(field)
                && said[0].contains("structured_metadata"),
            "{said:?}"
        );
    }
    assert!(
        mistakes(json!({ "labels": { "realm": "{{ user.domain }}", "kind": "{{ event.kind }}" } }))
            .is_empty()
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let many: Value = (0..16)
        .map(|n| (format!("l{n}"), json!("x")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let said = mistakes(json!({
        "labels": many, "structured_metadata": { "9x": "a", "b": "{{ b" }, "compression": "gzip", "tenant_id": "{{}}",
        "limits": { "overflow": "" }, "encoding": { "codec": "pretty" },
    }));
    let keys: Vec<&str> = said
        .iter()
        .map(|text| text.split(':').next().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "labels",
            "tenant_id",
            "limits.overflow",
            "encoding.codec",
            "compression",
            "structured_metadata.9x",
            "structured_metadata.b"
        ]
    );
    assert_eq!(
        mistakes(json!({ "labels": { "__x": "a", "a-b": "c" } })).len(),
        2
    );
    assert_eq!(
        mistakes(json!({ "format": "json", "compression": "zstd" })).len(),
        1
    );
    assert_eq!(
        mistakes(json!({ "limits": { "max_metadata_entries": 8 } })).len(),
        0
    );
    assert_eq!(
        mistakes(json!({ "limits": { "max_metadata_entries": 7 } })).len(),
        1
    );
}

#[tokio::test]
async fn an_address_may_name_the_whole_place_or_a_gateway_with_a_path() {
    let server = taking().await;
    for (base, path, expected) in [
        ("", None, "/loki/api/v1/push"),
        ("/loki/api/v1/push", None, "/loki/api/v1/push"),
        ("/gateway/", None, "/gateway/loki/api/v1/push"),
        ("/insert", Some("loki/push"), "/insert/loki/push"),
    ] {
        let mut options = json!({ "endpoint": format!("{}{base}", server.uri()) });
        if let Some(path) = path {
            options["path"] = json!(path);
        }
        build(options).unwrap().write(events(1)).await.unwrap();
        assert_eq!(server.requests().last().unwrap().path, expected);
    }
}
