//! What is said of messages that are held back and of silences (`PVE-9104`, `PVE-9105`), in the language of the configuration.

use pipeline::Language;

use super::silence::Silence;

/// A silence was made.
pub(super) fn made(silence: &Silence, language: Language) -> String {
    let Silence {
        id,
        author,
        until,
        reason,
        ..
    } = silence;
    let about = silence.about();
    match language {
        Language::En => {
            format!("{author} silenced alerts ({id}: {about}) until {until}: {reason}")
        }
        Language::De => {
            format!("{author} hat Alarme stummgeschaltet ({id}: {about}) bis {until}: {reason}")
        }
    }
}

/// It is over, or was taken back.
pub(super) fn ended(silence: &Silence, language: Language) -> String {
    let (id, about) = (&silence.id, silence.about());
    match (&silence.removed, language) {
        (Some((_, by)), Language::En) => format!("{by} removed the silence {id} ({about})"),
        (Some((_, by)), Language::De) => {
            format!("{by} hat die Stummschaltung {id} aufgehoben ({about})")
        }
        (None, Language::En) => format!("the silence {id} ({about}) has expired"),
        (None, Language::De) => format!("Die Stummschaltung {id} ({about}) ist abgelaufen"),
    }
}

/// A message is held back.
pub(super) fn held(receiver: &str, id: &str, rule: &str, why: &str, language: Language) -> String {
    match language {
        Language::En => {
            format!("A message to {receiver} about the alert {id} of {rule} is held back: {why}")
        }
        Language::De => format!(
            "Eine Nachricht an {receiver} über den Alarm {id} von {rule} wird zurückgehalten: {why}"
        ),
    }
}

/// By a silence.
pub(super) fn by_silence(silence: &Silence, language: Language) -> String {
    let Silence {
        id,
        author,
        until,
        reason,
        ..
    } = silence;
    match language {
        Language::En => format!("silence {id} by {author} until {until}: {reason}"),
        Language::De => format!("Stummschaltung {id} von {author} bis {until}: {reason}"),
    }
}

/// By an alert of another rule.
pub(super) fn by_alert(rule: &str, language: Language) -> String {
    match language {
        Language::En => format!("an alert of {rule} is open"),
        Language::De => format!("ein Alarm von {rule} ist offen"),
    }
}

/// By a calendar.
pub(super) fn by_calendar(language: Language) -> &'static str {
    match language {
        Language::En => "the route is muted by a calendar",
        Language::De => "der Weg ist durch einen Kalender stummgeschaltet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::Time;

    #[test]
    fn every_sentence_is_said_in_both_languages_with_the_same_facts() {
        let matching = serde_json::from_str(r#"{"rule": "PVR-201"}"#).unwrap();
        let now = Time::from_secs(1_000_000);
        let until = now.after(std::time::Duration::from_secs(3600));
        let one = Silence::new(matching, now, until, "alice", "upgrade").unwrap();
        let removed = Silence {
            removed: Some((now, "bob".to_owned())),
            ..one.clone()
        };
        let both = [Language::En, Language::De];
        let sentences: [[String; 2]; 6] = [
            both.map(|language| made(&one, language)),
            both.map(|language| ended(&one, language)),
            both.map(|language| ended(&removed, language)),
            both.map(|language| by_silence(&one, language)),
            both.map(|language| by_alert("PVR-202", language)),
            both.map(|language| held("mail", "a1", "PVR-201", by_calendar(language), language)),
        ];
        let facts: [&[&str]; 6] = [
            &[
                "alice",
                &one.id,
                "rule=PVR-201",
                "upgrade",
                "1970-01-12T14:46:40",
            ],
            &[&one.id, "rule=PVR-201"],
            &["bob", &one.id, "rule=PVR-201"],
            &["alice", &one.id, "upgrade", "1970-01-12T14:46:40"],
            &["PVR-202"],
            &["mail", "a1", "PVR-201"],
        ];
        for ([en, de], facts) in sentences.iter().zip(facts) {
            assert_ne!(en, de);
            for fact in facts {
                assert!(
                    en.contains(fact) && de.contains(fact),
                    "{fact}: {en} / {de}"
                );
            }
        }
        assert!(sentences[5][1].ends_with("der Weg ist durch einen Kalender stummgeschaltet"));
    }
}
