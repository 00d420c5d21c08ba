//! "Did you mean …?"

/// Restricted Damerau–Levenshtein distance: insert, delete, replace, swap two neighbours.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The nearest of `known`, if it is near enough to be a misspelling: a third of the letters, or one word is part of the other.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.', ' '], "_");
    let wanted = plain(written);
    known
        .into_iter()
        .filter_map(|candidate| {
            let name = plain(candidate);
            let steps = distance(&wanted, &name);
            let longest = wanted.chars().count().max(name.chars().count());
            let part = wanted.len() >= 4
                && name.len() >= 4
                && (name.contains(&wanted) || wanted.contains(&name));
            let near = steps <= (longest / 3).max(1) && longest > 1;
            (near || part).then_some((steps + usize::from(!near) * 100, candidate))
        })
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, candidate)| candidate)
}

/// `"a"`, `"a" and "b"`, `"a", "b" and 3 more`: names for a message.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>, quote: char) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|n| format!("{quote}{n}{quote}"))
        .collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`: a choice for a message.
pub(crate) fn either<'a>(names: impl IntoIterator<Item = &'a str>, quote: char) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|n| format!("{quote}{n}{quote}"))
        .collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_recognised_and_a_different_word_is_not() {
        let known = [
            "include",
            "exclude",
            "read_from",
            "inputs",
            "endpoints",
            "grok_pveproxy",
        ];
        for (written, meant) in [
            ("inlcude", Some("include")),
            ("input", Some("inputs")),
            ("readFrom", Some("read_from")),
            ("read-from", Some("read_from")),
            ("endpoint", Some("endpoints")),
            ("grok_pve", Some("grok_pveproxy")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn the_distance_counts_a_swap_as_one() {
        assert_eq!(distance("inlcude", "include"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
