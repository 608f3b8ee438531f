//! Sizes as users write them.

use crate::error::{Error, Result};

/// Parses `2GB`, `500MB`, `10GiB`, `1.5GB` or a plain number of bytes, as `--max_shard_size` takes it.
///
/// As in `transformers`, KB, MB, GB and TB are powers of 1000 and KiB, MiB, GiB and TiB powers of 1024;
/// the case of the unit does not matter.
///
/// # Errors
///
/// [`Error::Request`] if the text is not such a size, or is less than one byte.
pub fn parse_size(text: &str) -> Result<u64> {
    let wrong = || {
        Error::Request(format!(
            "size `{text}`: expected a number of bytes, or a number with KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 2GB"
        ))
    };
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let unit = unit_bytes(unit.trim()).ok_or_else(wrong)?;
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit).ok_or_else(wrong)?,
        Err(_) => {
            let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit as f64;
            if !bytes.is_finite() || bytes >= u64::MAX as f64 {
                return Err(wrong());
            }
            bytes as u64
        }
    };
    if bytes == 0 { Err(wrong()) } else { Ok(bytes) }
}

fn unit_bytes(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000u64.pow(2),
        "gb" => 1000u64.pow(3),
        "tb" => 1000u64.pow(4),
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, bytes) in [
            ("2GB", 2_000_000_000),
            ("500mb", 500_000_000),
            ("10GiB", 10 << 30),
            ("1.5 kB", 1500),
            ("77", 77),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "GB",
            "0",
            "0.1",
            "-1GB",
            "2GX",
            "1e3",
            "99999999999TB",
            "1.2.3MB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
