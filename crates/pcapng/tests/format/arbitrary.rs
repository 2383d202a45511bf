//! A short fuzz run on stable: nonsense, and good files with damage. The readers must not panic,
//! must come to an end, and must agree with each other.

use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{piece, transcript};

/// Runs both readers over `file`.
fn survive(file: &[u8]) {
    let of_slice = transcript::of_slice(file);
    // No block is shorter than 12 bytes, no record shorter than 16.
    assert!(of_slice.0.len() <= file.len() / 12 + 1);
    assert_eq!(of_slice, transcript::of_stream(file));
}

/// What is done to a file.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    /// Overwrites an aligned word, where lengths and types are.
    Word(Index, u32),
    Remove(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![any::<u32>(), 0..64_u32, Just(0x0A0D_0D0A), Just(u32::MAX)];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        4 => (any::<Index>(), word).prop_map(|(at, word)| Damage::Word(at, word)),
        1 => (any::<Index>(), 1..20_u8).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (any::<Index>(), vec(any::<u8>(), 1..20)).prop_map(|(at, it)| Damage::Insert(at, it)),
        1 => any::<Index>().prop_map(Damage::Cut),
    ]
}

impl Damage {
    fn apply(&self, file: &mut Vec<u8>) {
        if file.len() < 4 {
            return;
        }
        match self {
            Self::Set(at, byte) => {
                let at = at.index(file.len());
                file[at] = *byte;
            }
            Self::Word(at, word) => {
                let at = at.index(file.len() / 4) * 4;
                file[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            }
            Self::Remove(at, count) => {
                let at = at.index(file.len());
                let end = (at + usize::from(*count)).min(file.len());
                file.drain(at..end);
            }
            Self::Insert(at, bytes) => {
                let at = at.index(file.len());
                file.splice(at..at, bytes.iter().copied());
            }
            Self::Cut(at) => file.truncate(at.index(file.len())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nonsense(bytes in vec(any::<u8>(), 0..400)) {
        survive(&bytes);
    }

    #[test]
    fn nonsense_behind_a_magic(
        magic in prop_oneof![Just(0xA1B2_C3D4_u32), Just(0xA1B2_3C4D)],
        swapped: bool,
        bytes in vec(any::<u8>(), 0..400),
    ) {
        let magic = if swapped { magic.swap_bytes() } else { magic };
        survive(&[&magic.to_ne_bytes()[..], &bytes].concat());
    }

    #[test]
    fn nonsense_in_well_formed_blocks(
        bodies in vec((0..12_u32, vec(any::<u32>(), 0..20)), 0..12),
    ) {
        let mut file = piece::encode(&[]);
        for (block_type, body) in bodies {
            let length = u32::try_from(body.len() * 4 + 12).unwrap();
            let words = [block_type, length].into_iter().chain(body).chain([length]);
            file.extend(words.flat_map(u32::to_ne_bytes));
        }
        survive(&file);
    }

    #[test]
    fn damaged_files(pieces in piece::capture(), damages in vec(damage(), 1..6)) {
        let mut file = piece::encode(&pieces);
        for damage in &damages {
            damage.apply(&mut file);
        }
        survive(&file);
    }
}
