//! The order in which people count: `layers.2` before `layers.10`.

use std::cmp::Ordering;

/// Compares names with runs of digits taken as numbers; equal only if the names are.
pub fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left.as_bytes(), right.as_bytes());
    loop {
        let (digits_a, digits_b) = (digits(a), digits(b));
        let order = if digits_a > 0 && digits_b > 0 {
            let order = compare_numbers(&a[..digits_a], &b[..digits_b]);
            (a, b) = (&a[digits_a..], &b[digits_b..]);
            order
        } else {
            match (a.split_first(), b.split_first()) {
                (Some((x, rest_a)), Some((y, rest_b))) => {
                    (a, b) = (rest_a, rest_b);
                    x.cmp(y)
                }
                // Names such as `a.01` and `a.1` differ only in spelling: the plain order decides.
                _ => return a.len().cmp(&b.len()).then_with(|| left.cmp(right)),
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let strip =
        |number: &[u8]| -> usize { number.iter().take_while(|&&digit| digit == b'0').count() };
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_count() {
        let mut names = vec!["l.10.a", "l.9.b", "l.2", "l", "l.02", "k"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["k", "l", "l.02", "l.2", "l.9.b", "l.10.a"]);
    }

    proptest! {
        #[test]
        fn is_a_total_order(a in "[a0-9.]{0,6}", b in "[a0-9.]{0,6}", c in "[a0-9.]{0,6}") {
            prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
            prop_assert_eq!(natural_order(&a, &b) == Ordering::Equal, a == b);
            if natural_order(&a, &b).is_le() && natural_order(&b, &c).is_le() {
                prop_assert!(natural_order(&a, &c).is_le());
            }
        }
    }
}
