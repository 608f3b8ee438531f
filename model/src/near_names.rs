//! The names that may have been meant by one that nobody knows.

/// How alike (Jaro-Winkler, 0 to 1) a name must be to be taken for the one that was meant.
const NEAR: f64 = 0.85;

/// The known name that was probably meant, if one is near enough.
pub fn near_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (known, likeness) = ranked(name, known).into_iter().next()?;
    (likeness >= NEAR).then_some(known)
}

/// The nearest `count` of the known names, however near they are; the nearest comes first.
pub fn near_names<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let ranked = ranked(name, known).into_iter();
    ranked.map(|(known, _)| known).take(count).collect()
}

fn ranked<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<(&'a str, f64)> {
    let name = name.to_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&name, &known.to_lowercase());
    let known = known.into_iter();
    let mut ranked: Vec<_> = known.map(|known| (known, likeness(known))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["learning_rate", "lora_dim", "Seed"];

    #[test]
    fn the_nearest_comes_first() {
        assert_eq!(near_name("Learnin_rate", KNOWN), Some("learning_rate"));
        assert_eq!(near_name("seed", KNOWN), Some("Seed"));
        assert_eq!(near_name("hybrid_engine", KNOWN), None);
        assert_eq!(near_names("lora_r", KNOWN, 1), ["lora_dim"]);
        assert_eq!(near_names("x", KNOWN, 9).len(), 3);
        assert!(near_names("x", [], 9).is_empty());
    }
}
