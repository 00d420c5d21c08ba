//! The rules that are part of the program: `configs/rules/*.toml`.

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../configs/rules/", $name)))),*]
    };
}

/// Name and text of each file; a test looks whether all files of the folder stand here.
pub(super) static FILES: &[(&str, &str)] = files!(
    "access.toml" "backup.toml" "consoles.toml" "firewall.toml" "guests.toml" "habits.toml" "identity.toml" "lists.toml"
    "node.toml" "pipeline.toml" "profiles.toml"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/rules");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder of the pack")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".toml"))
            .collect();
        there.sort();
        let mut built_in: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        built_in.sort_unstable();
        assert_eq!(there, built_in);
    }

    #[test]
    fn the_pack_is_whole_in_both_profiles_and_every_rule_says_what_to_do() {
        use super::super::{LoadCx, Options, Profile, RuleSet};
        for profile in [Profile::Quiet, Profile::Strict] {
            let options = Options {
                profile,
                ..Options::default()
            };
            let (set, complaints) = RuleSet::load(&options, &LoadCx::default());
            assert!(complaints.is_empty(), "{complaints}");
            // Those of the reference, and the second half of PVR-901.
            assert_eq!(set.rules().len(), 66);
            for rule in set.rules() {
                let (pos, neg): (Vec<_>, Vec<_>) =
                    rule.tests.iter().partition(|test| test.alerts > 0);
                assert!(
                    !pos.is_empty() && !neg.is_empty(),
                    "{}: it fires, and it does not",
                    rule.id
                );
                for test in pos {
                    let whole = test.count.is_some() && test.severity.is_some();
                    assert!(
                        whole && (test.groups.is_some() || rule.group_by.is_empty()),
                        "{} {:?} says how many, how grave and of whom",
                        rule.id,
                        test.name
                    );
                }
                assert!(!rule.explain.is_empty(), "{}", rule.id);
                assert!(
                    !rule.response.is_empty() && !rule.false_positives.is_empty(),
                    "{}",
                    rule.id
                );
            }
        }
    }
}
