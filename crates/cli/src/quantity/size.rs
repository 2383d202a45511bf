use session::KeepFree;

/// The largest ring of one namespace in bytes.
const MAX_RING: u64 = 1 << 30;

/// tcpdump's `-C`: a bare number is millions of bytes, with `k`, `m`, `g` behind it KiB, MiB, GiB.
///
/// Source: `-C` of tcpdump(1).
pub(crate) fn file_size(text: &str) -> Result<u64, String> {
    let expected = "expected millions of bytes, or a number with k, m or g (KiB, MiB, GiB)";
    let (number, unit) = split(text).ok_or(expected)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => 1_000_000,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(expected.to_owned()),
    };
    positive(number.checked_mul(factor))
}

/// tcpdump's `-B`: a bare number is KiB; units are binary.
pub(crate) fn ring_size(text: &str) -> Result<u32, String> {
    let bytes = positive(binary(text, 1 << 10, "KiB")?)?;
    if bytes > MAX_RING {
        return Err("a ring has at most 1GiB".to_owned());
    }
    u32::try_from(bytes).map_err(|_| "a ring has at most 1GiB".to_owned())
}

/// docker's `--memory`: a bare number is bytes; units are binary.
///
/// Source: `RAMInBytes` of docker/go-units, which takes `m`, `MB` and `MiB` for the same.
pub(crate) fn memory(text: &str) -> Result<usize, String> {
    let bytes = positive(binary(text, 1, "bytes")?)?;
    usize::try_from(bytes).map_err(|_| TOO_LARGE.to_owned())
}

/// The same for what is on a disk.
pub(crate) fn amount(text: &str) -> Result<u64, String> {
    positive(binary(text, 1, "bytes")?)
}

/// The same for all rings together, which the kernel counts in 32 bits.
pub(crate) fn ring_memory(text: &str) -> Result<u32, String> {
    let bytes = positive(binary(text, 1, "bytes")?)?;
    u32::try_from(bytes).map_err(|_| "rings have less than 4GiB together".to_owned())
}

/// `5%`, or an amount as for [`memory`]; 0 for nothing.
pub(crate) fn keep_free(text: &str) -> Result<KeepFree, String> {
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent @ 0..=99) => Ok(KeepFree::Percent(percent)),
            _ => Err("expected 0% to 99%, or an amount such as 10GiB".to_owned()),
        },
        None => binary(text, 1, "bytes")?.map(KeepFree::Bytes).ok_or(TOO_LARGE.to_owned()),
    }
}

const TOO_LARGE: &str = "it is too large";

/// A number with a binary unit; `None` when it does not fit. `bare` is the factor of a number
/// without a unit.
fn binary(text: &str, bare: u64, bare_name: &str) -> Result<Option<u64>, String> {
    let expected = || format!("expected a number of {bare_name}, or with a unit: 512k, 64MiB, 1g");
    let (number, unit) = split(text).ok_or_else(expected)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => bare,
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(expected()),
    };
    Ok(number.checked_mul(factor))
}

/// The digits in front and what stands behind them.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

fn positive(bytes: Option<u64>) -> Result<u64, String> {
    match bytes {
        None => Err(TOO_LARGE.to_owned()),
        Some(0) => Err("it is nothing".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_size_is_tcpdumps() {
        for (text, bytes) in [
            ("1", 1_000_000),
            ("100", 100_000_000),
            ("3k", 3072),
            ("3K", 3072),
            ("2m", 2 << 20),
            ("2M", 2 << 20),
            ("1g", 1 << 30),
            ("1G", 1 << 30),
        ] {
            assert_eq!(file_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "0k", "-1", "1.5", "1t", "1kb", "k", "99999999999999999999"] {
            assert!(file_size(text).is_err(), "{text} was accepted");
        }
        assert_eq!(file_size("18446744073709551615g"), Err("it is too large".to_owned()));
    }

    #[test]
    fn a_ring_size_is_in_kibibytes() {
        for (text, bytes) in [
            ("2048", 2 << 20),
            ("4MiB", 4 << 20),
            ("4m", 4 << 20),
            ("512k", 512 << 10),
            ("262144b", 256 << 10),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(ring_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "2GiB", "4x", "MiB"] {
            assert!(ring_size(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn memory_is_dockers() {
        for (text, bytes) in
            [("512M", 512 << 20), ("64MiB", 64 << 20), ("64mb", 64 << 20), ("4194304", 4 << 20)]
        {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        assert!(memory("0").is_err());
        assert!(memory("a lot").is_err());
        assert!(ring_memory("4g").is_err());
        assert_eq!(ring_memory("1g"), Ok(1 << 30));
    }

    #[test]
    fn room_is_a_share_or_an_amount() {
        assert_eq!(keep_free("5%"), Ok(KeepFree::Percent(5)));
        assert_eq!(keep_free("0"), Ok(KeepFree::Bytes(0)));
        assert_eq!(keep_free("10GiB"), Ok(KeepFree::Bytes(10 << 30)));
        for text in ["100%", "%", "-1%", "5 %", "five"] {
            assert!(keep_free(text).is_err(), "{text} was accepted");
        }
    }
}
