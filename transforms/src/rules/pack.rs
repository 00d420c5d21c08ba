//! The rules that are part of the program: `configs/rules/*.toml`.

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../configs/rules/", $name)))),*]
    };
}

/// Name and text of each file; a test looks whether all files of the folder stand here.
pub(super) static FILES: &[(&str, &str)] = files!("profiles.toml");

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
}
